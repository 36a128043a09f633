"""Write the bundled encoder's network as an ONNX graph whose weights are those of the safetensors file.

Run once by a developer, after ``convert_efficientnet_lite.py`` or when the tapped stages change::

    pip install onnx
    python scripts/write_bundled_graph.py

The graph says where in ``efficientnet_lite0.safetensors`` each array lies, so every weight is on disk once.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import onnx
from onnx import TensorProto, helper

from napari_stem.encoders.bundled import GRAPH_PATH, TAPPED_STAGES, WEIGHTS_PATH, load_network

if TYPE_CHECKING:
    from collections.abc import Iterator


class Graph:
    """Nodes one after the other, each named by what comes out of it."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def add(self, kind: str, *inputs: str, **attributes: object) -> str:
        """Append a node; the name of its output."""
        name = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def constant(self, value: float) -> str:
        """Name of a number that the graph holds once."""
        name = f"the number {value:g}"
        self.constants[name] = helper.make_tensor(name, TensorProto.FLOAT, [], [value])
        return name

    def convolution(self, x: str, network: object, conv: str, norm: str) -> str:
        """Convolution padded as TensorFlow does, batch norm, and ReLU6 where timm has it."""
        conv_module, norm_module = network.get_submodule(conv), network.get_submodule(norm)
        x = self.add(
            "Conv",
            x,
            f"{conv}.weight",
            auto_pad="SAME_UPPER",
            group=conv_module.groups,
            kernel_shape=conv_module.kernel_size,
            strides=conv_module.stride,
        )
        arrays = [f"{norm}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
        x = self.add("BatchNormalization", x, *arrays, epsilon=norm_module.eps)
        if type(norm_module.act).__name__ == "Identity":
            return x
        return self.add("Clip", x, self.constant(0), self.constant(6))

    def pooled(self, x: str, n_places: int) -> list[str]:
        """Mean and (unbiased) standard deviation over the places of a patch."""
        mean = self.add("ReduceMean", x, axes=[2, 3])
        apart = self.add("Sub", x, mean)
        spread = self.add("ReduceMean", self.add("Mul", apart, apart), axes=[2, 3])
        spread = self.add("Mul", spread, self.constant(n_places / (n_places - 1)))
        return [self.add("Flatten", part) for part in (mean, self.add("Sqrt", spread))]


def build(network: object, side_px: int) -> Graph:
    """Everything from bytes (n, side, side, 3) to features (n, 304)."""
    graph = Graph()
    x = graph.add("Cast", "patches", to=TensorProto.FLOAT)
    x = graph.add("Transpose", x, perm=[0, 3, 1, 2])
    x = graph.add("Sub", graph.add("Div", x, graph.constant(127.5)), graph.constant(1))
    x = graph.convolution(x, network, "conv_stem", "bn1")
    stride, features = 2, []
    for stage, blocks in enumerate(network.blocks):
        for number, block in enumerate(blocks):
            path, start = f"blocks.{stage}.{number}", x
            layers = ("conv_pw", "conv_dw", "conv_pwl")
            for i, layer in enumerate(
                layers if hasattr(block, layers[2]) else ("conv_dw", "conv_pw"), 1
            ):
                x = graph.convolution(x, network, f"{path}.{layer}", f"{path}.bn{i}")
            stride *= block.conv_dw.stride[0]
            if block.has_skip:
                x = graph.add("Add", x, start)
        if stage in TAPPED_STAGES:
            features += graph.pooled(x, (side_px // stride) ** 2)
    graph.nodes.append(helper.make_node("Concat", features, ["features"], axis=1))
    return graph


def weights() -> Iterator[onnx.TensorProto]:
    """Arrays of the safetensors file (huggingface.co/docs/safetensors), as references into it."""
    with WEIGHTS_PATH.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        arrays = json.loads(file.read(length))
    for name, array in arrays.items():
        if name == "__metadata__":
            continue
        start, end = array["data_offsets"]
        tensor = TensorProto(name=name, dims=array["shape"], data_type=TensorProto.FLOAT)
        tensor.data_location = TensorProto.EXTERNAL
        where = {"location": WEIGHTS_PATH.name, "offset": 8 + length + start, "length": end - start}
        for key, value in where.items():
            tensor.external_data.add(key=key, value=str(value))
        yield tensor


def main() -> None:
    side_px = 224
    graph = build(load_network(), side_px)
    used = {name for node in graph.nodes for name in node.input}
    patches = helper.make_tensor_value_info(
        "patches", TensorProto.UINT8, ["n", side_px, side_px, 3]
    )
    features = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", None])
    arrays = [*graph.constants.values(), *(each for each in weights() if each.name in used)]
    whole = helper.make_graph(graph.nodes, "EfficientNet-Lite0", [patches], [features], arrays)
    model = helper.make_model(whole, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    GRAPH_PATH.write_bytes(model.SerializeToString())
    onnx.checker.check_model(str(GRAPH_PATH), full_check=True)
    print(f"wrote {GRAPH_PATH.name}: {GRAPH_PATH.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()

"""The encoders that can be used, and how: the bundled one, and published ones.

Sources: the model cards, and the code of well-known tools that load the published weights strictly with the
same arguments (a wrong shape would have been noticed). `EncoderFacts.unconfirmed` names what is left.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from napari_stem.hub import HUB_PAGE

if TYPE_CHECKING:
    from collections.abc import Mapping

# cls: the class token; mean: that of the patch tokens, without class and register tokens; centre: the mean of
# those in the middle eighth of the side; pooled: the network's own attentional pooling (CONCH)
Pooling = Literal["cls", "mean", "centre", "pooled"]
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)
Library = Literal["timm", "transformers", "attention-pool", "remote", "packaged"]

Colour = tuple[float, float, float]
IMAGENET: tuple[Colour, Colour] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF: tuple[Colour, Colour] = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@dataclass(frozen=True, kw_only=True)
class EncoderFacts:
    """One encoder.

    The first eight facts are required. The others are, unless stated, those of a vision transformer of timm
    with a class token and no registers, which embeds patches of 224 px at 0.5 um per pixel.
    """

    name: str  # as users write it
    description: str  # one line for a list
    hub_id: str  # repository on Hugging Face; empty of what is packaged
    licence: str  # as its card says
    token_width: int  # channels of a token: the width of `cls`, `mean` and `centre`
    size_mb: int  # of the download; computed from the number of parameters where nobody states it
    architecture: str  # name of the timm model or of the transformers class
    reference: str  # where it was published
    # what TRIDENT, LazySlide and slide2vec call it where that is another name, in lower case with hyphens
    aliases: tuple[str, ...] = ()
    # whether its terms must be accepted on the repository's page before it can be downloaded
    gated: bool = False
    prefix_tokens: int = 1  # tokens before the patch tokens: class token and registers
    # who builds the network: timm; transformers' own classes; timm with CONCH's attentional pooling; code from
    # the repository, which runs on explicit consent alone; or `napari_stem.encoders.bundled`
    library: Library = "timm"
    # exactly what it is built with. `mlp_layer` and `act_layer` hold names (``SwiGLUPacked``, ``SiLU``).
    arguments: Mapping[str, Any] = field(default_factory=dict)
    # width of `pooled`, where the network has an attentional pooling
    pooled_width: int | None = None
    pooling: tuple[Pooling, ...] = ("cls",)  # what the card recommends as embedding
    # side of the network's input and the pixel size that it was trained for
    side_px: int = 224
    mpp: float = 0.5
    own_fields_um: tuple[float, ...] = ()  # fields of view by default, where not their product
    normalisation: tuple[Colour, Colour] = IMAGENET  # mean and standard deviation of RGB in 0 to 1
    # file names, the first that exists is read
    weights: tuple[str, ...] = ("model.safetensors", "pytorch_model.bin")
    # beginnings of the names of tensors to keep (and strip off), and to leave aside
    keep: str = ""
    drop: tuple[str, ...] = ()
    half: Literal["float16", "bfloat16"] = "float16"  # the half precision used on CUDA
    # what could not be checked against the card or code that loads the published weights
    unconfirmed: str = ""

    @property
    def page(self) -> str:
        """Where its card stands and its terms are accepted."""
        return HUB_PAGE + self.hub_id

    @property
    def is_of_transformers(self) -> bool:
        """Whether the package transformers builds it, from a ``config.json`` beside the weights."""
        return self.library in {"transformers", "remote"}

    @property
    def fields_of_view_um(self) -> tuple[float, ...]:
        """Default fields of view in um."""
        return self.own_fields_um or (self.side_px * self.mpp,)

    @property
    def poolings(self) -> tuple[str, ...]:
        """What can be asked of it after ``@``."""
        if self.library == "packaged":
            return ()
        return tuple(p for p in POOLINGS if p != "pooled" or self.pooled_width is not None)

    def width(self, pooling: tuple[Pooling, ...]) -> int:
        """Width of the embedding of one patch."""
        return sum(
            self.pooled_width if p == "pooled" and self.pooled_width else self.token_width
            for p in pooling
        )


BUNDLED_FACTS = EncoderFacts(
    name="bundled",
    description="ImageNet EfficientNet-Lite0 texture and stain statistics at 150, 300 and 600 µm",
    hub_id="",
    licence="Apache-2.0",
    library="packaged",
    token_width=351,
    size_mb=0,
    architecture="tf_efficientnet_lite0",
    own_fields_um=(150.0, 300.0, 600.0),
    reference="docs/bundled-encoder.md",
)
_CC = "CC-BY-NC-ND-4.0"
_SWIGLU = {"mlp_layer": "SwiGLUPacked", "act_layer": "SiLU"}
_OPTIMUS = ((0.707223, 0.578729, 0.703617), (0.211883, 0.230117, 0.177517))
_HIBOU = ((0.7068, 0.5755, 0.722), (0.195, 0.2316, 0.1816))
_OF_OTHER_SIDE = (
    "the licence; patches of 224 px as other tools use them, though its position embedding has "
    "518 px"
)
_LUNIT = ((0.70322989, 0.53606487, 0.66096631), (0.21716536, 0.26081574, 0.20723464))

_VIRCHOW = EncoderFacts(
    name="virchow",
    description="Virchow, ViT-H/14, 1.5 million slides",
    hub_id="paige-ai/Virchow",
    licence="Apache-2.0, with terms of use",
    gated=True,
    token_width=1280,
    pooling=("cls", "mean"),
    size_mb=2525,
    architecture="vit_huge_patch14_224",
    arguments={
        "img_size": 224,
        "init_values": 1e-5,
        "mlp_ratio": 5.3375,
        "global_pool": "",
        "dynamic_img_size": True,
        **_SWIGLU,
    },
    reference="Vorontsov et al., Nature Medicine 30, 2924 (2024)",
)
_H_OPTIMUS = EncoderFacts(
    name="h-optimus-0",
    aliases=("hoptimus0",),
    description="H-optimus-0, ViT-g/14 with 4 registers, 500,000 slides",
    hub_id="bioptimus/H-optimus-0",
    licence="Apache-2.0",
    gated=True,
    token_width=1536,
    size_mb=4539,
    prefix_tokens=5,
    architecture="vit_giant_patch14_reg4_dinov2",
    arguments={"img_size": 224, "init_values": 1e-5, "dynamic_img_size": False},
    reference="Saillard et al. 2024, github.com/bioptimus/releases",
    unconfirmed="the gate: terms are accepted on the page, at once, according to recent users",
    normalisation=_OPTIMUS,
)
_HIBOU_B = EncoderFacts(
    name="hibou-b",
    description="Hibou-B, ViT-B/14 with 4 registers",
    hub_id="histai/hibou-b",
    licence="Apache-2.0",
    gated=True,
    library="remote",
    token_width=768,
    size_mb=343,
    prefix_tokens=5,
    architecture="AutoModel",
    reference="Nechaev et al. 2024, arXiv 2406.05074",
    normalisation=_HIBOU,
)
_PUBLISHED = (
    # Mahmood Lab, Harvard
    EncoderFacts(
        name="uni",
        aliases=("uni-v1",),
        description="UNI, ViT-L/16, 100,000 slides",
        hub_id="MahmoodLab/UNI",
        licence=_CC,
        gated=True,
        token_width=1024,
        size_mb=1213,
        architecture="vit_large_patch16_224",
        arguments={"init_values": 1e-5, "dynamic_img_size": True},
        reference="Chen et al., Nature Medicine 30, 850 (2024)",
    ),
    EncoderFacts(
        name="uni2-h",
        aliases=("uni-v2", "uni2"),
        description="UNI 2, ViT-H/14 with 8 registers, 350,000 slides",
        hub_id="MahmoodLab/UNI2-h",
        licence=_CC,
        gated=True,
        token_width=1536,
        size_mb=2726,
        prefix_tokens=9,
        architecture="vit_giant_patch14_224",
        arguments={
            "img_size": 224,
            "patch_size": 14,
            "depth": 24,
            "num_heads": 24,
            "init_values": 1e-5,
            "embed_dim": 1536,
            "mlp_ratio": 2.66667 * 2,
            "no_embed_class": True,
            "reg_tokens": 8,
            "dynamic_img_size": True,
            **_SWIGLU,
        },
        half="bfloat16",
        reference="Chen et al., Nature Medicine 30, 850 (2024); card of January 2025",
    ),
    EncoderFacts(
        name="conch",
        aliases=("conch-v1",),
        description="CONCH, ViT-B/16 with attentional pooling, 1.17 million image-caption pairs",
        hub_id="MahmoodLab/CONCH",
        licence=_CC,
        gated=True,
        library="attention-pool",
        token_width=768,
        pooled_width=512,
        pooling=("pooled",),
        side_px=448,
        size_mb=802,
        architecture="vit_base_patch16_224",
        arguments={"img_size": 448, "dynamic_img_size": True},
        weights=("pytorch_model.bin", "model.safetensors"),
        keep="visual.",
        drop=("attn_pool_caption.", "ln_caption.", "proj_contrast"),
        reference="Lu et al., Nature Medicine 30, 863 (2024)",
        unconfirmed="the size of the download; 0.5 um per pixel at 448 px (its code states no pixel size)",
    ),
    EncoderFacts(
        name="conch-v1.5",
        aliases=("conch-v15", "conchv15"),
        description="CONCH v1.5, ViT-L/16 with attentional pooling, the patch encoder of TITAN",
        hub_id="MahmoodLab/TITAN",
        licence=_CC,
        gated=True,
        library="remote",
        token_width=768,
        pooled_width=768,
        pooling=("pooled",),
        side_px=448,
        size_mb=1900,
        architecture="return_conch",
        weights=("conch_v1_5_pytorch_model.bin",),
        reference="Ding et al. 2024, arXiv 2411.19666",
        unconfirmed="the size of the download; 0.5 um per pixel at 448 px",
    ),
    # Paige
    _VIRCHOW,
    replace(
        _VIRCHOW,
        name="virchow2",
        description="Virchow 2, ViT-H/14 with 4 registers, 3.1 million slides",
        hub_id="paige-ai/Virchow2",
        licence=_CC,
        prefix_tokens=5,
        arguments={**_VIRCHOW.arguments, "reg_tokens": 4},
        reference="Zimmermann et al. 2024, arXiv 2408.00738",
    ),
    # Bioptimus
    _H_OPTIMUS,
    replace(
        _H_OPTIMUS,
        name="h-optimus-1",
        aliases=("hoptimus1",),
        description="H-optimus-1, ViT-g/14 with 4 registers, 1 million slides",
        hub_id="bioptimus/H-optimus-1",
        licence=_CC,
        reference="Bioptimus 2025, model card",
        unconfirmed="",
    ),
    EncoderFacts(
        name="h0-mini",
        description="H0-mini, ViT-B/14 distilled from H-optimus-0",
        hub_id="bioptimus/H0-mini",
        licence=_CC,
        gated=True,
        token_width=768,
        pooling=("cls", "mean"),
        size_mb=343,
        prefix_tokens=5,
        architecture="vit_base_patch14_reg4_dinov2",
        arguments={
            "img_size": 224,
            "init_values": 1e-5,
            "mlp_ratio": 2.66667 * 2,
            "dynamic_img_size": False,
            **_SWIGLU,
        },
        reference="Filiot et al. 2025, arXiv 2501.16239",
        unconfirmed="mlp_ratio and the number of registers (the number of parameters, 85.7 million, agrees)",
        normalisation=_OPTIMUS,
    ),
    # Providence and Microsoft
    EncoderFacts(
        name="prov-gigapath",
        aliases=("gigapath",),
        description="Prov-GigaPath's tile encoder, ViT-g/16, 171,000 slides",
        hub_id="prov-gigapath/prov-gigapath",
        licence="Apache-2.0, with terms of use",
        gated=True,
        token_width=1536,
        size_mb=4540,
        architecture="vit_giant_patch14_dinov2",
        # The card resizes a tile of 256 px to 256 and crops 224: the middle 112 um at its own 0.5 um/px.
        arguments={
            "img_size": 224,
            "patch_size": 16,
            "embed_dim": 1536,
            "depth": 40,
            "num_heads": 24,
            "mlp_ratio": 2.66667 * 2,
        },
        weights=("pytorch_model.bin", "model.safetensors"),
        reference="Xu et al., Nature 630, 181 (2024)",
        unconfirmed="the licence",
    ),
    # HistAI
    _HIBOU_B,
    replace(
        _HIBOU_B,
        name="hibou-l",
        description="Hibou-L, ViT-L/14 with 4 registers",
        hub_id="histai/hibou-L",
        token_width=1024,
        size_mb=1215,
    ),
    # Owkin, Kaiko, HKUST and Lunit
    EncoderFacts(
        name="phikon",
        description="Phikon, ViT-B/16, TCGA",
        hub_id="owkin/phikon",
        licence="Owkin non-commercial",
        library="transformers",
        token_width=768,
        size_mb=343,
        architecture="ViTModel",
        arguments={"add_pooling_layer": False},
        reference="Filiot et al. 2023, medRxiv 2023.07.21.23292757",
    ),
    EncoderFacts(
        name="phikon-v2",
        aliases=("phikonv2",),
        description="Phikon-v2, ViT-L/16, 58,000 public slides",
        hub_id="owkin/phikon-v2",
        licence="Owkin non-commercial",
        library="transformers",
        token_width=1024,
        size_mb=1213,
        architecture="Dinov2Model",
        reference="Filiot et al. 2024, arXiv 2409.09173",
    ),
    EncoderFacts(
        name="midnight",
        aliases=("midnight12k", "midnight-12k"),
        description="Midnight-12k, ViT-g/14, TCGA, from 0.25 to 2 um per pixel",
        hub_id="kaiko-ai/midnight",
        licence="MIT",
        library="transformers",
        token_width=1536,
        pooling=("cls", "mean"),
        size_mb=4546,
        architecture="Dinov2Model",
        normalisation=HALF,
        reference="Karasikov et al. 2025, arXiv 2504.05186",
    ),
    EncoderFacts(
        name="gpfm",
        description="GPFM, ViT-L/14 distilled from several experts",
        hub_id="majiabo/GPFM",
        licence="CC-BY-NC-ND-4.0",
        token_width=1024,
        size_mb=1213,
        architecture="vit_large_patch14_dinov2",
        arguments={"img_size": 224, "init_values": 1e-5},
        weights=("GPFM.pth", "model.safetensors"),
        reference="Ma et al., Nature Biomedical Engineering (2025), arXiv 2407.18449",
        unconfirmed="the licence: sources disagree (MIT or CC-BY-NC-ND-4.0); the stricter one is shown",
    ),
    EncoderFacts(
        name="lunit-dino",
        aliases=("lunit", "lunit-vits8", "lunit-dino-s8"),
        description="Lunit DINO, ViT-S/8, TCGA and others",
        hub_id="1aurent/vit_small_patch8_224.lunit_dino",
        licence="Lunit non-commercial",
        token_width=384,
        size_mb=87,
        architecture="vit_small_patch8_224",
        arguments={"dynamic_img_size": True},
        reference="Kang et al., CVPR 2023, arXiv 2212.04690",
        normalisation=_LUNIT,
    ),
    # Kaiko's smaller ones
    *(
        EncoderFacts(
            name=name,
            aliases=(name.replace("-", "-vit"),),
            description=f"Kaiko {network}{' with 4 registers' * (prefix == 5)}, TCGA",
            hub_id=f"1aurent/{architecture}.kaiko_ai_towards_large_pathology_fms",
            licence="see page",
            token_width=width,
            size_mb=size_mb,
            prefix_tokens=prefix,
            architecture=architecture,
            arguments={"img_size": img_px, "dynamic_img_size": True},
            normalisation=HALF,
            reference="kaiko.ai et al. 2024, arXiv 2404.15217",
            unconfirmed="the licence" if img_px == 224 else _OF_OTHER_SIDE,
        )
        for name, network, architecture, width, prefix, img_px, size_mb in (
            ("kaiko-s16", "ViT-S/16", "vit_small_patch16_224", 384, 1, 224, 87),
            ("kaiko-s8", "ViT-S/8", "vit_small_patch8_224", 384, 1, 224, 87),
            ("kaiko-b16", "ViT-B/16", "vit_base_patch16_224", 768, 1, 224, 343),
            ("kaiko-b8", "ViT-B/8", "vit_base_patch8_224", 768, 1, 224, 343),
            ("kaiko-l14", "ViT-L/14", "vit_large_patch14_reg4_dinov2", 1024, 5, 518, 1217),
        )
    ),
)
CATALOGUE: dict[str, EncoderFacts] = {facts.name: facts for facts in _PUBLISHED}
_BY_ALIAS = {alias: facts.name for facts in _PUBLISHED for alias in facts.aliases}


def canonical(encoder: str) -> str:
    """Name of an encoder as this program writes it, for one of another program: ``uni_v1`` is ``uni``."""
    name = encoder.strip().lower().replace("_", "-")
    return _BY_ALIAS.get(name, name)

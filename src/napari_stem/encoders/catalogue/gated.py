"""Encoders whose terms must be accepted on their page before they can be downloaded."""

from __future__ import annotations

from functools import partial

from napari_stem.encoders.facts import EncoderFacts

_gated = partial(EncoderFacts, gated=True)
_CC = "CC-BY-NC-ND-4.0"
_SWIGLU = {"mlp_layer": "SwiGLUPacked", "act_layer": "SiLU"}
_OPTIMUS = ((0.707223, 0.578729, 0.703617), (0.211883, 0.230117, 0.177517))
_HIBOU = ((0.7068, 0.5755, 0.722), (0.195, 0.2316, 0.1816))

_MAHMOOD = (
    _gated(
        name="uni",
        description="UNI, ViT-L/16, 100,000 slides",
        hub_id="MahmoodLab/UNI",
        licence=_CC,
        token_width=1024,
        size_mb=1213,
        architecture="vit_large_patch16_224",
        arguments={"init_values": 1e-5, "dynamic_img_size": True},
        reference="Chen et al., Nature Medicine 30, 850 (2024)",
    ),
    _gated(
        name="uni2-h",
        description="UNI 2, ViT-H/14 with 8 registers, 350,000 slides",
        hub_id="MahmoodLab/UNI2-h",
        licence=_CC,
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
    _gated(
        name="conch",
        description="CONCH, ViT-B/16 with attentional pooling, 1.17 million image-caption pairs",
        hub_id="MahmoodLab/CONCH",
        licence=_CC,
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
    _gated(
        name="conch-v1.5",
        description="CONCH v1.5, ViT-L/16 with attentional pooling, the patch encoder of TITAN",
        hub_id="MahmoodLab/TITAN",
        licence=_CC,
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
)
_PAIGE = tuple(
    _gated(
        name=name,
        description=description,
        hub_id=hub_id,
        licence=licence,
        token_width=1280,
        pooling=("cls", "mean"),
        size_mb=2525,
        prefix_tokens=1 + registers,
        architecture="vit_huge_patch14_224",
        arguments={
            "img_size": 224,
            "init_values": 1e-5,
            "mlp_ratio": 5.3375,
            "reg_tokens": registers,
            "global_pool": "",
            "dynamic_img_size": True,
            **_SWIGLU,
        },
        reference=reference,
    )
    for name, description, hub_id, licence, registers, reference in (
        (
            "virchow",
            "Virchow, ViT-H/14, 1.5 million slides",
            "paige-ai/Virchow",
            "Apache-2.0, with terms of use",
            0,
            "Vorontsov et al., Nature Medicine 30, 2924 (2024)",
        ),
        (
            "virchow2",
            "Virchow 2, ViT-H/14 with 4 registers, 3.1 million slides",
            "paige-ai/Virchow2",
            _CC,
            4,
            "Zimmermann et al. 2024, arXiv 2408.00738",
        ),
    )
)
_BIOPTIMUS = (
    *(
        _gated(
            name=name,
            description=description,
            hub_id=hub_id,
            licence=licence,
            token_width=1536,
            size_mb=4539,
            prefix_tokens=5,
            architecture="vit_giant_patch14_reg4_dinov2",
            arguments={"img_size": 224, "init_values": 1e-5, "dynamic_img_size": False},
            reference=reference,
            unconfirmed=unconfirmed,
            normalisation=_OPTIMUS,
        )
        for name, description, hub_id, licence, reference, unconfirmed in (
            (
                "h-optimus-0",
                "H-optimus-0, ViT-g/14 with 4 registers, 500,000 slides",
                "bioptimus/H-optimus-0",
                "Apache-2.0",
                "Saillard et al. 2024, github.com/bioptimus/releases",
                "the gate: terms are accepted on the page, at once, according to recent users",
            ),
            (
                "h-optimus-1",
                "H-optimus-1, ViT-g/14 with 4 registers, 1 million slides",
                "bioptimus/H-optimus-1",
                _CC,
                "Bioptimus 2025, model card",
                "",
            ),
        )
    ),
    _gated(
        name="h0-mini",
        description="H0-mini, ViT-B/14 distilled from H-optimus-0",
        hub_id="bioptimus/H0-mini",
        licence=_CC,
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
)
_PROVIDENCE = (
    _gated(
        name="prov-gigapath",
        description="Prov-GigaPath's tile encoder, ViT-g/16, 171,000 slides",
        hub_id="prov-gigapath/prov-gigapath",
        licence="Apache-2.0, with terms of use",
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
)
_HISTAI = tuple(
    _gated(
        name=name,
        description=description,
        hub_id=hub_id,
        licence="Apache-2.0",
        library="remote",
        token_width=width,
        size_mb=size_mb,
        prefix_tokens=5,
        architecture="AutoModel",
        reference="Nechaev et al. 2024, arXiv 2406.05074",
        normalisation=_HIBOU,
    )
    for name, description, hub_id, width, size_mb in (
        ("hibou-b", "Hibou-B, ViT-B/14 with 4 registers", "histai/hibou-b", 768, 343),
        ("hibou-l", "Hibou-L, ViT-L/14 with 4 registers", "histai/hibou-L", 1024, 1215),
    )
)
GATED = (*_MAHMOOD, *_PAIGE, *_BIOPTIMUS, *_PROVIDENCE, *_HISTAI)

"""Encoders that anybody can download; their licences bind all the same."""

from __future__ import annotations

from napari_stem.encoders.facts import HALF, EncoderFacts

_LUNIT = ((0.70322989, 0.53606487, 0.66096631), (0.21716536, 0.26081574, 0.20723464))
_KAIKO = "kaiko_ai_towards_large_pathology_fms"
_KAIKO_PAPER = "kaiko.ai et al. 2024, arXiv 2404.15217"
_KAIKO_LICENCE = "see page"


_SINGLE = (
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
)
_KAIKOS = tuple(
    EncoderFacts(
        name=name,
        description=f"Kaiko {description}, TCGA",
        hub_id=f"1aurent/{architecture}.{_KAIKO}",
        licence=_KAIKO_LICENCE,
        token_width=width,
        size_mb=size_mb,
        prefix_tokens=prefix,
        architecture=architecture,
        arguments={"img_size": img_px, "dynamic_img_size": True},
        normalisation=HALF,
        reference=_KAIKO_PAPER,
        unconfirmed=unconfirmed,
    )
    for name, description, architecture, width, prefix, img_px, size_mb, unconfirmed in (
        ("kaiko-s16", "ViT-S/16", "vit_small_patch16_224", 384, 1, 224, 87, "the licence"),
        ("kaiko-s8", "ViT-S/8", "vit_small_patch8_224", 384, 1, 224, 87, "the licence"),
        ("kaiko-b16", "ViT-B/16", "vit_base_patch16_224", 768, 1, 224, 343, "the licence"),
        ("kaiko-b8", "ViT-B/8", "vit_base_patch8_224", 768, 1, 224, 343, "the licence"),
        (
            "kaiko-l14",
            "ViT-L/14 with 4 registers",
            "vit_large_patch14_reg4_dinov2",
            1024,
            5,
            518,
            1217,
            "the licence; patches of 224 px as other tools use them, though its position embedding has 518 px",
        ),
    )
)

UNGATED = (*_SINGLE, *_KAIKOS)

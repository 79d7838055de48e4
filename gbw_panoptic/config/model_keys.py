"""Keys of the network: architecture, heads, backbones."""

from ..losses import loss_types
from ..modeling.backbones.mit import VARIANTS as MIT_VARIANTS
from ..modeling.backbones.swin import VARIANTS as SWIN_VARIANTS
from ..modeling.backbones.vit import NORMS as PYRAMID_NORMS
from ..modeling.backbones.vit import POSITIONS
from ..modeling.backbones.vit import VARIANTS as VIT_VARIANTS
from ..modeling.registries import architectures, backbones, instance_heads, semantic_heads
from ..weighting import WEIGHTINGS
from .kinds import Key, choice, integer, listing, number, registered, share, switch, switch_or_auto, text

_FEATURES = ("res2", "res3", "res4", "res5")
#: Of Detectron2, in every version of it; "" is none.
NORMS = ("BN", "SyncBN", "FrozenBN", "GN", "nnSyncBN", "naiveSyncBN", "naiveSyncBN_N", "")
_norm, _factor, _dropout = choice(*NORMS), number(low=0), share("a probability")
_channels = integer(low=1, high=65536)
_features = listing(choice(*_FEATURES), least=1, distinct=True)
_maps = listing(text("the name of a feature map", empty=False), least=1, distinct=True)
_dilation = integer(low=1, high=1024)
_pixel_loss = registered(
    loss_types, hints={name: f"it is a class weighting: set WEIGHTING.SEMANTIC {name}" for name in WEIGHTINGS}
)  # fmt: skip

MODEL = (
    Key("MODEL.META_ARCHITECTURE", registered(architectures), "What the network is.", "DomainAdaptivePanopticDeepLab"),
    Key("MODEL.TASK", choice("panoptic", "semantic"),
        "Semantic: no centre and offset heads, no instance targets.", "panoptic"),
    Key("MODEL.DEVICE", text("cpu, cuda or cuda:N", pattern=r"cpu|cuda(:\d{1,4})?"),
        "Where tensors live; without a GPU, cuda becomes cpu."),
    Key("MODEL.WEIGHTS", text("the path of a local .pth file, package://NAME, or ''"),
        "Of the start of training; '' is random. See docs/backbones.md."),
    Key("MODEL.WEIGHTS_SHA256", text("64 hexadecimal digits, or ''", pattern=r"[0-9a-fA-F]{64}|"),
        "Of the file MODEL.WEIGHTS; '' is unchecked.", ""),
    Key("MODEL.PIXEL_MEAN", listing(number(low=0, high=255), length=3),
        "Subtracted from pixels 0..255, in the order of INPUT.FORMAT (torchvision's "
        "weights).", [123.675, 116.28, 103.53]),
    Key("MODEL.PIXEL_STD", listing(number(above=0), length=3),
        "Divides them (torchvision's weights).", [58.395, 57.12, 57.375]),
    Key("MODEL.CHANNELS_LAST", switch_or_auto(),
        "Memory format of the network: faster convolutions in mixed precision, with which auto sets it.", False),
    Key("MODEL.COMPILE", switch(),
        "torch.compile of the backbone: minutes at the start, and at every new image size.", False),
)  # fmt: skip

SEMANTIC_HEAD = (
    Key("MODEL.SEM_SEG_HEAD.NAME", registered(semantic_heads), "Of the pixels' classes.", "PerClassSemSegHead"),
    Key("MODEL.SEM_SEG_HEAD.NUM_CLASSES", integer(low=1, high=999),
        "Of DATASETS.TAXONOMY, whose number of classes takes the place of the default.", 19),
    Key("MODEL.SEM_SEG_HEAD.IGNORE_VALUE", choice(255, 65535),
        "Label of pixels without a class; data sets are registered with it."),
    Key("MODEL.SEM_SEG_HEAD.IN_FEATURES", _maps, "Feature maps that the head reads, finest first."),
    Key("MODEL.SEM_SEG_HEAD.LOSS_TYPE", _pixel_loss,
        "Pixel loss. The cross_entropy is -log p_y. The loss of hard_pixel_mining is that of the LOSS_TOP_K pixels of "
        "largest loss (arXiv 1902.05093). The focal one is -(1 - p_y)^gamma log p_y (arXiv 1708.02002). With "
        "logit_adjustment it is the cross entropy of z + tau log f (arXiv 2007.07314). With seesaw it is that of z_j + "
        "log(M_yj C_yj) (arXiv 2008.10032). With blda it is that of logits whose distributions are aligned (arXiv "
        "2512.06886). It combines with any class weighting.", "cross_entropy"),
    Key("MODEL.SEM_SEG_HEAD.LOSS_WEIGHT", _factor, "Factor of the semantic loss."),
    Key("MODEL.SEM_SEG_HEAD.LOSS_TOP_K", number("a share", above=0, high=1),
        "Of hard_pixel_mining: the share of pixels that counts."),
    Key("MODEL.SEM_SEG_HEAD.FOCAL_GAMMA", number(low=0), "Of focal (the paper's).", 2.0),
    Key("MODEL.SEM_SEG_HEAD.LOGIT_ADJUSTMENT_TAU", number(low=0), "Of logit_adjustment (the paper's).", 1.0),
    Key("MODEL.SEM_SEG_HEAD.SEESAW_P", number(low=0),
        "Of seesaw: exponent of the ratio of class counts (the paper's).", 0.8),
    Key("MODEL.SEM_SEG_HEAD.SEESAW_Q", number(low=0),
        "Of seesaw: exponent of the ratio of probabilities (the paper's).", 2.0),
    Key("MODEL.SEM_SEG_HEAD.BLDA_STRENGTH", number(low=0), "Of blda: share of the shift (the published code's t).",
        0.1),
    Key("MODEL.SEM_SEG_HEAD.NORM", _norm, "Normalisation of the head; SyncBN becomes BN in one process."),
    Key("MODEL.SEM_SEG_HEAD.COMMON_STRIDE", integer(low=1),
        "Stride of the head's output: that of its finest feature map."),
    Key("MODEL.SEM_SEG_HEAD.CONVS_DIM", _channels, "Channels of the decoder."),
    Key("MODEL.SEM_SEG_HEAD.HEAD_CHANNELS", _channels, "Channels in front of the classifier."),
    Key("MODEL.SEM_SEG_HEAD.PROJECT_CHANNELS", listing(_channels),
        "Channels of the projected maps: one number for each of IN_FEATURES but the coarsest."),
    Key("MODEL.SEM_SEG_HEAD.ASPP_CHANNELS", _channels, "Channels of the pyramid of dilated convolutions."),
    Key("MODEL.SEM_SEG_HEAD.ASPP_DILATIONS", listing(_dilation, least=1),
        "Its dilations; three in the heads of Panoptic-DeepLab, any number in DAFormer's."),
    Key("MODEL.SEM_SEG_HEAD.ASPP_DROPOUT", _dropout, "Its dropout."),
    Key("MODEL.SEM_SEG_HEAD.USE_DEPTHWISE_SEPARABLE_CONV", switch(), "Separable convolutions in both heads."),
)  # fmt: skip

INSTANCE_HEAD = (
    Key("MODEL.INS_EMBED_HEAD.NAME", registered(instance_heads), "Of centres and offsets.", "PerClassInsEmbedHead"),
    Key("MODEL.INS_EMBED_HEAD.IN_FEATURES", _maps, "Feature maps that the head reads, finest first."),
    Key("MODEL.INS_EMBED_HEAD.CENTER_LOSS_WEIGHT", _factor, "Factor of the centre loss."),
    Key("MODEL.INS_EMBED_HEAD.OFFSET_LOSS_WEIGHT", _factor, "Factor of the offset loss."),
    Key("MODEL.INS_EMBED_HEAD.NORM", _norm, "As of the semantic head."),
    Key("MODEL.INS_EMBED_HEAD.COMMON_STRIDE", integer(low=1), "As of the semantic head."),
    Key("MODEL.INS_EMBED_HEAD.CONVS_DIM", _channels, "As of the semantic head."),
    Key("MODEL.INS_EMBED_HEAD.HEAD_CHANNELS", _channels, "As of the semantic head."),
    Key("MODEL.INS_EMBED_HEAD.PROJECT_CHANNELS", listing(_channels), "As of the semantic head."),
    Key("MODEL.INS_EMBED_HEAD.ASPP_CHANNELS", _channels, "As of the semantic head."),
    Key("MODEL.INS_EMBED_HEAD.ASPP_DILATIONS", listing(_dilation, least=1), "As of the semantic head."),
    Key("MODEL.INS_EMBED_HEAD.ASPP_DROPOUT", _dropout, "As of the semantic head."),
)  # fmt: skip

PANOPTIC_DEEPLAB = (
    Key("MODEL.PANOPTIC_DEEPLAB.CENTER_THRESHOLD", share(), "Heat of a centre that is kept."),
    Key("MODEL.PANOPTIC_DEEPLAB.NMS_KERNEL",
        integer("an odd number", low=1, high=1001, only=lambda side: side % 2 == 1),
        "Side of the square in which a centre is the hottest, pixels."),
    Key("MODEL.PANOPTIC_DEEPLAB.TOP_K_INSTANCE", integer(low=1, high=16384),
        "Instances of an image at most; of a class, the strongest 999 have numbers, the rest are a group."),
    Key("MODEL.PANOPTIC_DEEPLAB.STUFF_AREA", integer(low=0, unit=" pixels"), "Stuff of fewer pixels becomes void."),
    Key("MODEL.PANOPTIC_DEEPLAB.INSTANCE_AREA", integer(low=0, unit=" pixels"),
        "Things of fewer pixels become void (ours; Detectron2 keeps every instance).", 0),
    Key("MODEL.PANOPTIC_DEEPLAB.SIZE_DIVISIBILITY", integer(low=-1, high=4096),
        "Images are padded to multiples of it; -1 and 0: the backbone's."),
)  # fmt: skip

AUXILIARY_HEAD = (
    Key("MODEL.AUXILIARY_HEAD.ENABLED", switch(),
        "A second semantic head on an earlier feature map, for alignment on two levels (AdaptSegNet, arXiv "
        "1802.10349).", False),
    Key("MODEL.AUXILIARY_HEAD.IN_FEATURE", choice(*_FEATURES),
        "Its feature map, among the backbone's OUT_FEATURES (AdaptSegNet).", "res4"),
    Key("MODEL.AUXILIARY_HEAD.DILATIONS", listing(_dilation, least=1),
        "Of its convolutions (AdaptSegNet's released code).", [6, 12]),
    Key("MODEL.AUXILIARY_HEAD.LOSS_WEIGHT", _factor, "Factor of its loss (AdaptSegNet).", 0.1),
)  # fmt: skip

BACKBONES = (
    Key("MODEL.BACKBONE.NAME", registered(backbones), "See docs/backbones.md."),
    Key("MODEL.BACKBONE.FREEZE_AT", integer(low=0, high=5),
        "Of ResNets: the stem and so many stages less one get no gradient."),
    Key("MODEL.RESNETS.DEPTH", choice(18, 34, 50, 101, 152),
        "Layers; 18 and 34 with build_resnet_backbone and RES2_OUT_CHANNELS 64."),
    Key("MODEL.RESNETS.OUT_FEATURES", _features, "Feature maps that leave the backbone."),
    Key("MODEL.RESNETS.NORM", _norm, "Normalisation of ResNets and of the compact backbone."),
    Key("MODEL.RESNETS.NUM_GROUPS", integer(low=1, high=1024), "Groups of the 3x3 convolutions (ResNeXt)."),
    Key("MODEL.RESNETS.WIDTH_PER_GROUP", _channels, "Channels of each group in res2."),
    Key("MODEL.RESNETS.STRIDE_IN_1X1", switch(),
        "Stride in the 1x1 convolution (Detectron's weights), else in the 3x3 (torchvision's).", False),
    Key("MODEL.RESNETS.STEM_TYPE", choice("basic", "deeplab"),
        "Of build_resnet_deeplab_backbone: one 7x7 or three 3x3 convolutions."),
    Key("MODEL.RESNETS.STEM_OUT_CHANNELS", _channels, "Channels of the stem."),
    Key("MODEL.RESNETS.RES2_OUT_CHANNELS", _channels, "Channels of res2; each later stage has twice as many."),
    Key("MODEL.RESNETS.RES4_DILATION", choice(1, 2), "Of build_resnet_deeplab_backbone; 2 goes with RES5_DILATION 4."),
    Key("MODEL.RESNETS.RES5_DILATION", choice(1, 2, 4),
        "Dilation of res5; 4 with build_resnet_deeplab_backbone alone."),
    Key("MODEL.RESNETS.RES5_MULTI_GRID", listing(_dilation, length=3),
        "Factors of the dilation of res5's blocks, of build_resnet_deeplab_backbone."),
    Key("MODEL.RESNETS.DEFORM_ON_PER_STAGE", listing(switch(), length=4),
        "Deformable convolutions in res2 to res5; they need Detectron2's compiled operations."),
    Key("MODEL.RESNETS.DEFORM_MODULATED", switch(), "Modulated deformable convolutions."),
    Key("MODEL.RESNETS.DEFORM_NUM_GROUPS", integer(low=1, high=1024), "Groups of deformable convolutions."),
    Key("MODEL.COMPACT.WIDTHS", listing(_channels, length=4, rising=True),
        "Channels of res2 to res5 of build_compact_backbone (ours).", (32, 64, 96, 128)),
    Key("MODEL.COMPACT.BLOCKS", integer(low=1, high=1000), "Residual blocks in each of them.", 1),
    Key("MODEL.MIT.VARIANT", choice(*MIT_VARIANTS), "Size of build_mit_backbone (DAFormer, EDAPS: b5).", "b5"),
    Key("MODEL.MIT.DROP_PATH_RATE", share("a probability"), "Of its last block (SegFormer, DAFormer, EDAPS).", 0.1),
    Key("MODEL.MIT.OUT_FEATURES", _features, "Those that a head reads.", list(_FEATURES)),
    Key("MODEL.SWIN.VARIANT", choice(*SWIN_VARIANTS), "Size of build_swin_backbone.", "t"),
    Key("MODEL.SWIN.WINDOW_SIZE", integer(low=1, high=1024),
        "Cells; 12 for weights that were trained at 384 pixels.", 7),
    Key("MODEL.SWIN.DROP_PATH_RATE", share("a probability"), "Of its last block (Mask2Former).", 0.3),
    Key("MODEL.SWIN.OUT_FEATURES", _features, "Those that a head reads.", list(_FEATURES)),
    Key("MODEL.TIMM.NAME", text("the name of a model of timm", empty=False),
        "Of build_timm_backbone: any pyramid, e.g. convnext_*, pvt_v2_*, resnet*.", "convnext_tiny"),
    Key("MODEL.TIMM.DROP_PATH_RATE", share("a probability"),
        "Of its last block (ConvNeXt in segmentation: 0.4, PVTv2: 0.1).", 0.0),
    Key("MODEL.TIMM.FEATURE_NORM", switch(),
        "A layer norm for every map (published for ConvNeXt in segmentation).", False),
    Key("MODEL.TIMM.OUT_FEATURES", listing(choice("res1", *_FEATURES), least=1, distinct=True),
        "Those that a head reads; some models have res1, too.", list(_FEATURES)),
    Key("MODEL.VIT.VARIANT", choice(*VIT_VARIANTS), "Of build_vit_backbone; there are no files of the tiny ones.",
        "dinov2_base"),
    Key("MODEL.VIT.PATCH_SIZE", choice(4, 8, 16),
        "Side of a patch, pixels; files' kernels of 14 are resized (MC-PanDA++, EoMT: 16).", 16),
    Key("MODEL.VIT.POSITIONS", choice(*POSITIONS),
        "Whose formula resizes DINOv2's table of positions; with registers, all three have the same.",
        "facebookresearch"),
    Key("MODEL.VIT.DROP_PATH_RATE", share("a probability"), "Of its last block (ViTDet: B 0.1, L 0.4; EoMT: 0).", 0.0),
    Key("MODEL.VIT.PYRAMID_CHANNELS", _channels, "Of every map (ViTDet).", 256),
    Key("MODEL.VIT.PYRAMID_NORM", choice(*PYRAMID_NORMS),
        "Of the pyramid: a layer norm over channels (ViTDet), or a group norm.", "LN"),
    Key("MODEL.VIT.GRADIENT_CHECKPOINTING", switch(),
        "Compute blocks again in the backward pass: a third more time, a fraction of the memory.", False),
    Key("MODEL.VIT.OUT_FEATURES", _features, "Those that a head reads.", list(_FEATURES)),
)  # fmt: skip

_M2F = "Mask2Former's released Cityscapes configuration"
MASK2FORMER = (
    Key("MODEL.MASK2FORMER.NUM_QUERIES", integer(low=1, high=16384),
        f"Segments of an image at most ({_M2F}); of a class, the strongest 999 have numbers, the rest are a group.",
        100),
    Key("MODEL.MASK2FORMER.HIDDEN_DIM",
        integer("a multiple of 32", low=32, high=65536, only=lambda width: width % 32 == 0),
        "Of queries, pixel decoder and masks.", 256),
    Key("MODEL.MASK2FORMER.NUM_HEADS", integer(low=1, high=1024), "Attention heads; they divide HIDDEN_DIM.", 8),
    Key("MODEL.MASK2FORMER.ENCODER_LAYERS", integer(low=1, high=1000),
        "Of the pixel decoder's deformable attention.", 6),
    Key("MODEL.MASK2FORMER.ENCODER_FEEDFORWARD_DIM", _channels, f"{_M2F}.", 1024),
    Key("MODEL.MASK2FORMER.DECODER_LAYERS", integer(low=1, high=1000),
        f"{_M2F}, where DEC_LAYERS 10 counts the raw queries' predictions, too.", 9),
    Key("MODEL.MASK2FORMER.DECODER_FEEDFORWARD_DIM", _channels, f"{_M2F}.", 2048),
    Key("MODEL.MASK2FORMER.CLASS_WEIGHT", _factor, "Of the classification loss and of its matching cost.", 2.0),
    Key("MODEL.MASK2FORMER.MASK_WEIGHT", _factor, "Of the mask loss and of its matching cost.", 5.0),
    Key("MODEL.MASK2FORMER.DICE_WEIGHT", _factor, "Of the dice loss and of its matching cost.", 5.0),
    Key("MODEL.MASK2FORMER.NO_OBJECT_WEIGHT", _factor,
        "Of queries without a segment, in the classification loss.", 0.1),
    Key("MODEL.MASK2FORMER.NUM_POINTS", integer(low=1, high=2**24), "At which masks are compared: 112^2.", 12544),
    Key("MODEL.MASK2FORMER.OVERSAMPLE_RATIO", number(low=1, high=1000), "Candidates for them, as a multiple.", 3.0),
    Key("MODEL.MASK2FORMER.IMPORTANCE_RATIO", share(), "Of the points that are chosen for uncertainty.", 0.75),
    Key("MODEL.MASK2FORMER.OBJECT_THRESHOLD", share(), "Class probability of a query that is kept.", 0.8),
    Key("MODEL.MASK2FORMER.OVERLAP_THRESHOLD", share(), "Of its mask that a segment wins, else it is dropped.", 0.8),
)  # fmt: skip

EOMT = (
    Key("MODEL.EOMT.NUM_BLOCKS", integer(low=1, high=1000),
        "Blocks of the ViT that see queries (EoMT: S and B 3, L 4); queries, losses and thresholds are "
        "MODEL.MASK2FORMER's.", 3),
)  # fmt: skip

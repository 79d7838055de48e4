"""Every configuration key of the project, declared once, with its default and the reason for it.

The rest of the package never sees a ``cfg``: only ``from_config`` and ``build_*`` functions read these keys.
"""

from detectron2.config import CfgNode as CN
from detectron2.projects.panoptic_deeplab import add_panoptic_deeplab_config


def add_gbw_panoptic_config(cfg: CN) -> None:
    """Add this project's keys (and those of Detectron2's Panoptic-DeepLab, on which it builds) to ``cfg``, in place."""
    add_panoptic_deeplab_config(cfg)
    cfg.MODEL.META_ARCHITECTURE = "DomainAdaptivePanopticDeepLab"
    cfg.MODEL.TASK = "panoptic"  # or "semantic": no centre and offset heads, no instance targets
    cfg.MODEL.SEM_SEG_HEAD.NAME = "PerClassSemSegHead"
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 19
    cfg.MODEL.SEM_SEG_HEAD.LOSS_TYPE = "cross_entropy"  # one of the pixel losses of _add_weighting_keys' table
    cfg.MODEL.INS_EMBED_HEAD.NAME = "PerClassInsEmbedHead"
    # A second semantic head on an earlier feature map, for multi-level alignment (AdaptSegNet, arXiv 1802.10349)
    cfg.MODEL.AUXILIARY_HEAD = CN()
    cfg.MODEL.AUXILIARY_HEAD.ENABLED = False
    cfg.MODEL.AUXILIARY_HEAD.IN_FEATURE = "res4"  # AdaptSegNet; must be among the backbone's OUT_FEATURES
    cfg.MODEL.AUXILIARY_HEAD.DILATIONS = [6, 12]  # AdaptSegNet's released code
    cfg.MODEL.AUXILIARY_HEAD.LOSS_WEIGHT = 0.1  # AdaptSegNet
    _add_backbone_keys(cfg)
    cfg.MODEL.WEIGHTS_SHA256 = ""  # of the file MODEL.WEIGHTS; "" = unchecked
    # The whole package thinks in RGB, 0..255; these are the mean and deviation of torchvision's weights.
    cfg.INPUT.FORMAT = "RGB"
    cfg.MODEL.PIXEL_MEAN = [123.675, 116.28, 103.53]
    cfg.MODEL.PIXEL_STD = [58.395, 57.12, 57.375]
    cfg.MODEL.RESNETS.STRIDE_IN_1X1 = False
    cfg.MODEL.COMPACT = CN()  # build_compact_backbone (ours)
    cfg.MODEL.COMPACT.WIDTHS = (32, 64, 96, 128)  # channels of res2 to res5
    cfg.MODEL.COMPACT.BLOCKS = 1  # residual blocks in each of them
    # SOLVER.IMS_PER_BATCH is what one update sees, over all processes and micro-batches. GBW's class weights and the losses'
    # denominators are those of each micro-batch; its losses count one part in so many (ours).
    cfg.SOLVER.ACCUMULATION_STEPS = 1
    cfg.SOLVER.REFERENCE_BATCH = 0  # BASE_LR is for so many images: it is scaled by IMS_PER_BATCH / this; 0 = as it is
    cfg.SOLVER.AMP.PRECISION = "bfloat16"  # of SOLVER.AMP.ENABLED; or float16, with loss scaling (GPUs without bfloat16)
    cfg.MODEL.CHANNELS_LAST = False  # memory format of the network: faster convolutions on GPUs with tensor cores
    cfg.MODEL.COMPILE = False  # torch.compile of the backbone: minutes at the start, and at every new image size
    cfg.SOLVER.BACKBONE_MULTIPLIER = 1.0  # factor of the backbone's learning rate
    cfg.SOLVER.WEIGHT_DECAY_EMBED = 0.0  # of embeddings and relative position tables (Mask2Former)
    cfg.SOLVER.CHECKPOINTS_KEPT = 3  # the last so many of every CHECKPOINT_PERIOD iterations, beside the final one; 0 = all
    cfg.SEED = 0  # a run without a seed cannot be repeated
    _add_mask2former_keys(cfg)
    _add_data_keys(cfg)
    _add_weighting_keys(cfg)
    _add_trainer_keys(cfg)
    _add_adversarial_keys(cfg)
    _add_entropy_keys(cfg)
    _add_active_keys(cfg)
    _add_test_keys(cfg)
    _add_tracking_keys(cfg)


def _add_backbone_keys(cfg: CN) -> None:
    # MODEL.BACKBONE.NAME build_mit_backbone, build_swin_backbone or build_timm_backbone (docs/backbones.md). Feature maps
    # have the names and strides of Detectron2's ResNets; OUT_FEATURES: those that a head reads; timm's may have res1, too.
    features = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.MIT = CN()
    cfg.MODEL.MIT.VARIANT = "b5"  # DAFormer, EDAPS; b0 to b5
    cfg.MODEL.MIT.DROP_PATH_RATE = 0.1  # SegFormer, DAFormer, EDAPS
    cfg.MODEL.MIT.OUT_FEATURES = features
    cfg.MODEL.SWIN = CN()
    cfg.MODEL.SWIN.VARIANT = "t"  # t, s, b or l
    cfg.MODEL.SWIN.WINDOW_SIZE = 7  # 12 for weights that were trained at 384 pixels
    cfg.MODEL.SWIN.DROP_PATH_RATE = 0.3  # Mask2Former
    cfg.MODEL.SWIN.OUT_FEATURES = features
    cfg.MODEL.TIMM = CN()
    cfg.MODEL.TIMM.NAME = "convnext_tiny"  # any pyramid of timm: convnext_*, pvt_v2_*, resnet*
    cfg.MODEL.TIMM.DROP_PATH_RATE = 0.0  # ConvNeXt in segmentation: 0.4, PVTv2: 0.1
    cfg.MODEL.TIMM.FEATURE_NORM = False  # a layer norm for every map (published for ConvNeXt in segmentation)
    cfg.MODEL.TIMM.OUT_FEATURES = features


def _add_mask2former_keys(cfg: CN) -> None:
    # MODEL.META_ARCHITECTURE DomainAdaptiveMask2Former (arXiv 2112.01527); [M2F] its released Cityscapes configuration
    cfg.MODEL.MASK2FORMER = CN()
    cfg.MODEL.MASK2FORMER.NUM_QUERIES = 100  # [M2F]
    cfg.MODEL.MASK2FORMER.HIDDEN_DIM = 256  # [M2F]; of queries, pixel decoder and masks; a multiple of 32
    cfg.MODEL.MASK2FORMER.NUM_HEADS = 8  # [M2F]
    cfg.MODEL.MASK2FORMER.ENCODER_LAYERS = 6  # [M2F]; of the pixel decoder's deformable attention
    cfg.MODEL.MASK2FORMER.ENCODER_FEEDFORWARD_DIM = 1024  # [M2F]
    cfg.MODEL.MASK2FORMER.DECODER_LAYERS = 9  # [M2F], where DEC_LAYERS 10 counts the raw queries' predictions, too
    cfg.MODEL.MASK2FORMER.DECODER_FEEDFORWARD_DIM = 2048  # [M2F]
    cfg.MODEL.MASK2FORMER.CLASS_WEIGHT = 2.0  # [M2F]; this and the next two: of losses and of matching costs
    cfg.MODEL.MASK2FORMER.MASK_WEIGHT = 5.0  # [M2F]
    cfg.MODEL.MASK2FORMER.DICE_WEIGHT = 5.0  # [M2F]
    cfg.MODEL.MASK2FORMER.NO_OBJECT_WEIGHT = 0.1  # [M2F]; in the classification loss
    cfg.MODEL.MASK2FORMER.NUM_POINTS = 12544  # [M2F]: 112^2; at which masks are compared
    cfg.MODEL.MASK2FORMER.OVERSAMPLE_RATIO = 3.0  # [M2F]; candidates for them
    cfg.MODEL.MASK2FORMER.IMPORTANCE_RATIO = 0.75  # [M2F]; share that is chosen for uncertainty
    cfg.MODEL.MASK2FORMER.OBJECT_THRESHOLD = 0.8  # [M2F]; class probability of a query that is kept
    cfg.MODEL.MASK2FORMER.OVERLAP_THRESHOLD = 0.8  # [M2F]; share of its mask that a segment wins


def _add_data_keys(cfg: CN) -> None:
    cfg.DATASETS.TARGET = ()  # unlabelled images; DATASETS.TRAIN is the labelled source
    cfg.DATASETS.CUSTOM = ""  # YAML of your own data sets (datasets/README.md); "" = custom.yaml in the root, if there
    # INPUT.{MIN,MAX}_SIZE_TRAIN resize the source; the target has sizes of its own (DAFormer: 760 and 512 short edge).
    cfg.INPUT.TARGET = CN()
    cfg.INPUT.TARGET.MIN_SIZE_TRAIN = (512,)
    cfg.INPUT.TARGET.MAX_SIZE_TRAIN = 1024
    # Rows and columns of the resized target image whose pseudo labels are not trusted: rectification artefacts, ego bonnet
    # below (DAFormer: top 15, bottom 120 of 512 rows; HRDA: 30, 240, left and right 30 at 1024 x 2048).
    cfg.INPUT.TARGET.IGNORE_TOP = 0
    cfg.INPUT.TARGET.IGNORE_BOTTOM = 0
    cfg.INPUT.TARGET.IGNORE_LEFT = 0
    cfg.INPUT.TARGET.IGNORE_RIGHT = 0
    # Fourier style transfer of source images (FDA, arXiv 2004.05498); works with every trainer, needs DATASETS.TARGET
    cfg.INPUT.FOURIER = CN()
    cfg.INPUT.FOURIER.ENABLED = False
    cfg.INPUT.FOURIER.BETA = 0.01  # FDA: 0.01, 0.05 and 0.09 (its ensemble of three)
    # Rare-class sampling of source images: P(c) = softmax((1 - f_c) / T) (DAFormer, arXiv 2111.14887, eq. 6).
    cfg.DATALOADER.RARE_CLASS_SAMPLING = CN()
    cfg.DATALOADER.RARE_CLASS_SAMPLING.ENABLED = True
    cfg.DATALOADER.RARE_CLASS_SAMPLING.TEMPERATURE = 0.01
    cfg.DATALOADER.RARE_CLASS_SAMPLING.MIN_PIXELS = 3000  # of the class in the full label, for an image to be drawn
    cfg.DATALOADER.RARE_CLASS_SAMPLING.MIN_CROP_PIXELS = 1500  # of the class in the crop; crops are redrawn until then
    cfg.DATALOADER.RARE_CLASS_SAMPLING.MAX_TRIES = 10
    cfg.DATALOADER.MAX_BAD_FILES = 0  # unreadable files skipped (counted, logged) before training stops


def _add_weighting_keys(cfg: CN) -> None:
    # Against class imbalance; formulas in weighting/static.py and losses/shaping.py. n_c: labelled source pixels of a
    # class, f_c: their share. Class weights and pixel losses combine freely.
    #   WEIGHTING.{SEMANTIC, CENTER, OFFSET, CLASSIFICATION, MASK, TARGET}, class weights; static ones: mean 1 over the classes that occur
    #     none
    #     manual                   WEIGHTING.CLASS_WEIGHTS as they are
    #     inverse_frequency        1 / f_c
    #     sqrt_inverse_frequency   1 / sqrt(f_c)
    #     median_frequency         1 / share of the class in the images that contain it        arXiv 1411.4734
    #     effective_number         1 / (1 - b^n_c), b = 1 - 1 / N; EFFECTIVE_NUMBER_SHARE      arXiv 1901.05555
    #     log_inverse              1 / ln(k + f_c); LOG_INVERSE_K                              arXiv 1606.02147 (ENet)
    #     gbw                      from the gradients of each step; GBW.*                      arXiv 2407.01327
    #   MODEL.SEM_SEG_HEAD.LOSS_TYPE, pixel loss of the semantic head
    #     cross_entropy            -log p_y
    #     hard_pixel_mining        the LOSS_TOP_K pixels of largest loss (Detectron2's key)    arXiv 1902.05093
    #     focal                    -(1 - p_y)^gamma log p_y; FOCAL_GAMMA                       arXiv 1708.02002
    #     logit_adjustment         cross entropy of z + tau log f; LOGIT_ADJUSTMENT_TAU        arXiv 2007.07314
    #     seesaw                   cross entropy of z_j + log(M_yj C_yj); SEESAW_P, SEESAW_Q   arXiv 2008.10032
    cfg.WEIGHTING = CN()
    cfg.WEIGHTING.SEMANTIC = "none"
    cfg.WEIGHTING.CENTER = "none"
    cfg.WEIGHTING.OFFSET = "none"
    cfg.WEIGHTING.CLASSIFICATION = "none"  # Mask2Former: by class of the matched segment
    cfg.WEIGHTING.MASK = "none"  # Mask2Former: of its mask and dice losses, each with weights of its own
    cfg.WEIGHTING.TARGET = "none"  # of what entropy minimisation and alignment ask of the target, by predicted class
    # Branches whose labelled losses are weighted; elsewhere every class weighs 1. mixed, masked: pseudo labels; target: bought
    # labels. WEIGHTING.TARGET applies whatever stands here
    cfg.WEIGHTING.BRANCHES = ("source", "mixed", "masked", "target")
    cfg.WEIGHTING.CLASS_WEIGHTS = ()  # one number a class, in the order of the taxonomy
    cfg.WEIGHTING.EFFECTIVE_NUMBER_SHARE = 0.01  # N / sum of n_c (ours: published N count images)
    cfg.WEIGHTING.LOG_INVERSE_K = 1.02  # ENet
    cfg.MODEL.SEM_SEG_HEAD.FOCAL_GAMMA = 2.0  # the paper's
    cfg.MODEL.SEM_SEG_HEAD.LOGIT_ADJUSTMENT_TAU = 1.0  # the paper's
    cfg.MODEL.SEM_SEG_HEAD.SEESAW_P = 0.8  # the paper's
    cfg.MODEL.SEM_SEG_HEAD.SEESAW_Q = 2.0  # the paper's
    # What a weighted sum of pixel losses is divided by: the sum of the weights of its pixels (a weighting then only
    # redistributes), the number of valid pixels, or all pixels, ignored ones too (Detectron2's DeepLab, DAFormer).
    cfg.WEIGHTING.LOSS_DENOMINATOR = "weights"
    cfg.GBW = CN()
    cfg.GBW.LAMBDA = 0.5  # pull towards 1
    cfg.GBW.GRADIENT = "logits"  # logits | last_layer | pixel | autograd (slow, for checking); semantic and classification heads only
    cfg.GBW.NORMALIZE = False  # divide g by its mean first; always on for instance heads and masks
    cfg.GBW.MOMENTUM = 0.0  # moving average of g; 0 is the paper's per-iteration update
    cfg.GBW.WARMUP_ITERS = 0  # weights stay 1 until then


def _add_trainer_keys(cfg: CN) -> None:
    cfg.TRAINER = CN()
    # SourceOnlyTrainer, SelfTrainingTrainer, AdversarialTrainer, EntropyMinimizationTrainer or ActiveTrainer
    cfg.TRAINER.NAME = "SourceOnlyTrainer"
    cfg.TRAINER.DETERMINISTIC = False  # deterministic algorithms; needed for bit-exact resume on GPUs
    cfg.SELF_TRAINING = CN()
    cfg.SELF_TRAINING.EMA_DECAY = 0.999  # DAFormer; the ramp min(1 - 1/(t+1), decay) is always on
    # quality: every pixel keeps its label, weighted by the share of confident pixels (DACS, DAFormer); threshold: only
    # confident pixels keep it (an option of DACS); class_percentile: the surest third of each class does (FDA)
    cfg.SELF_TRAINING.SELECTION = "quality"
    cfg.SELF_TRAINING.CONFIDENCE_THRESHOLD = 0.968  # DACS, DAFormer; quality and threshold
    cfg.SELF_TRAINING.QUALITY = "image"  # quality weight per image (ours) or over the rank's "batch" (as published)
    cfg.SELF_TRAINING.CLASS_PERCENTILE = CN()
    cfg.SELF_TRAINING.CLASS_PERCENTILE.PERCENTILE = 66.0  # FDA; of a class's confidences in the rank's batch (ours)
    cfg.SELF_TRAINING.CLASS_PERCENTILE.MAX_THRESHOLD = 0.9  # FDA; pixels of this confidence are kept in any case
    cfg.SELF_TRAINING.CLASS_MIX = True  # paste half of the source image's classes on the target image (ClassMix, DACS)
    cfg.SELF_TRAINING.TARGET_LOSS_WEIGHT = 1.0
    cfg.SELF_TRAINING.INSTANCE_LOSSES = False  # centre and offset losses on the teacher's instances, too (ours)
    # What weighs them: the pixel's weight alone, or times its instance's score (Panoptic-DeepLab's; as a weight: ours)
    cfg.SELF_TRAINING.INSTANCE_QUALITY = "pixel"  # or score
    # Strong augmentation of the mixed image. The published code's "color_jitter_probability 0.2" is a threshold: the
    # jitter fires in 80 % of the steps.
    cfg.SELF_TRAINING.COLOR_JITTER_STRENGTH = 0.2
    cfg.SELF_TRAINING.COLOR_JITTER_PROBABILITY = 0.8
    cfg.SELF_TRAINING.BLUR_PROBABILITY = 0.5
    _add_consistency_keys(cfg.SELF_TRAINING)
    _add_segment_keys(cfg.SELF_TRAINING)


def _add_consistency_keys(node: CN) -> None:
    # Masked image consistency (MIC, arXiv 2212.01322); pseudo labels and augmentation are those of the mixed images
    node.MASKED = CN()
    node.MASKED.ENABLED = False
    node.MASKED.RATIO = 0.7  # MIC
    node.MASKED.BLOCK_SIZE = 64  # pixels; MIC: 64 at full resolution, 32 at half (crops of 512)
    node.MASKED.WEIGHT = 1.0  # MIC
    # Features of things stay near the initial backbone's (DAFormer, arXiv 2111.14887), which should be ImageNet's
    node.FEATURE_DISTANCE = CN()
    node.FEATURE_DISTANCE.ENABLED = False
    node.FEATURE_DISTANCE.WEIGHT = 0.005  # DAFormer
    node.FEATURE_DISTANCE.MIN_SHARE = 0.75  # DAFormer; of a feature cell's pixels that one class has
    node.FEATURE_DISTANCE.CLASSES = (  # DAFormer: two stuff classes are among them
        "traffic light", "traffic sign",
        "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
    )  # fmt: skip


def _add_segment_keys(node: CN) -> None:
    # Self-training of a mask model (MC-PanDA, arXiv 2407.14110). Its segments are those of panoptic inference, with its
    # thresholds. EMA_DECAY, CLASS_MIX (half of the segments), the loss weights, MASKED and FEATURE_DISTANCE apply.
    node.SEGMENTS = CN()
    # The first iterations have a fixed teacher of weights of its own, which training on the source has made (MC-PanDA:
    # 15000 from SYNTHIA, 20000 from Cityscapes; its student starts from ImageNet's weights); then the teacher starts
    # again as the student's copy. 0: none, the teacher averages from the start, with the ramp.
    node.SEGMENTS.BURN_IN_ITERS = 0
    node.SEGMENTS.TEACHER_WEIGHTS = ""  # local .pth of such a run, or published; needed with BURN_IN_ITERS
    # Mask-wide loss scaling: a segment counts by the share of its pixels above this confidence; 0: all count fully
    node.SEGMENTS.MASK_CONFIDENCE_THINGS = 0.99  # MC-PanDA
    node.SEGMENTS.MASK_CONFIDENCE_STUFF = 0.99  # MC-PanDA
    # Mask losses leave out points where no segment has this confidence (MC-PanDA: 0.8, on Vistas 0.9); 0: no filter
    node.SEGMENTS.POINT_CONFIDENCE = 0.8
    node.SEGMENTS.MIN_AREA = 25  # pixels of the crop; segments of so many or fewer are dropped (MC-PanDA)


def _add_adversarial_keys(cfg: CN) -> None:
    cfg.ADVERSARIAL = CN()
    cfg.ADVERSARIAL.ALIGN = "softmax"  # maps (AdaptSegNet), or "entropy": self-information maps (ADVENT)
    cfg.ADVERSARIAL.GAN = "vanilla"  # AdaptSegNet, ADVENT; or "least_squares" (AdaptSegNet: with LOSS_WEIGHT 0.01)
    cfg.ADVERSARIAL.LOSS_WEIGHT = 0.001  # AdaptSegNet, ADVENT
    cfg.ADVERSARIAL.AUXILIARY_LOSS_WEIGHT = 0.0002  # AdaptSegNet, ADVENT; with MODEL.AUXILIARY_HEAD
    cfg.ADVERSARIAL.LEARNING_RATE = 1e-4  # of the discriminators, Adam (AdaptSegNet, ADVENT)
    cfg.ADVERSARIAL.BETAS = (0.9, 0.99)  # AdaptSegNet, ADVENT
    cfg.ADVERSARIAL.POLY_LR_POWER = 0.9  # AdaptSegNet, ADVENT
    cfg.ADVERSARIAL.ALIGN_INSTANCES = False  # the discriminator sees centre heatmap and offset length, too (ours)


def _add_entropy_keys(cfg: CN) -> None:
    cfg.ENTROPY = CN()
    cfg.ENTROPY.LOSS = "entropy"  # MinEnt (ADVENT); or "maximum_squares" (arXiv 1909.13589: with LOSS_WEIGHT 0.1)
    cfg.ENTROPY.LOSS_WEIGHT = 0.001  # MinEnt
    cfg.ENTROPY.AUXILIARY_LOSS_WEIGHT = 0.0002  # MinEnt; with MODEL.AUXILIARY_HEAD
    cfg.ENTROPY.IMAGE_WISE = False  # image-wise weighting of maximum squares
    cfg.ENTROPY.IMAGE_WISE_RATIO = 0.2  # maximum squares


def _add_active_keys(cfg: CN) -> None:
    # Active learning: RIPU (CVPR 2022) and CBDA (arXiv 2311.14146), which is RIPU with both switches on
    cfg.ACTIVE = CN()
    cfg.ACTIVE.ANNOTATOR = ""  # labelled data set of the target's images that answers for the human annotator
    cfg.ACTIVE.LABELS = ""  # folder of the bought labels; "" = active/ in OUTPUT_DIR
    cfg.ACTIVE.BUDGET = "5%"  # of all target pixels (RIPU: 2.2% and 5%), or a number of pixels; all rounds together
    # A round of acquisition after each of these iterations, which share the budget equally (RIPU); 0 = before the first
    # one, by MODEL.WEIGHTS; () = train on the labels that tools/acquire.py has bought
    cfg.ACTIVE.ITERATIONS = (10000, 12000, 14000, 16000, 18000)
    cfg.ACTIVE.SCORE = "ripu"  # impurity times uncertainty; or "entropy" (uncertainty alone), "random"
    cfg.ACTIVE.MODE = "region"  # squares of radius RADIUS; or "pixel": single pixels, RADIUS apart at least
    cfg.ACTIVE.RADIUS = 1  # RIPU: 1 for regions, 32 for pixels
    cfg.ACTIVE.CLASS_BALANCE = False  # CBDA: classes that were bought seldom count more
    cfg.ACTIVE.DYNAMIC_BUDGET = False  # CBDA: one budget over all images; else each image gets its share
    cfg.ACTIVE.GAMMA = 1.0  # strength of the class balance (ours)
    cfg.ACTIVE.SOFT = True  # class balance by the whole prediction; else by its argmax (ours)
    cfg.ACTIVE.VOID_COSTS = True  # RIPU: bought pixels whose truth is void count against the budget
    cfg.ACTIVE.TARGET_LOSS_WEIGHT = 1.0  # RIPU; cross entropy on bought pixels
    cfg.ACTIVE.NEGATIVE_LOSS_WEIGHT = 1.0  # RIPU; negative learning on the target
    cfg.ACTIVE.NEGATIVE_THRESHOLD = 0.05  # RIPU; of the probabilities that are pushed to 0
    cfg.ACTIVE.CONSISTENCY_LOSS_WEIGHT = 0.1  # RIPU; consistency across class boundaries of the source
    # A bought pixel of a thing tells its instance and that one's centre, too, at no cost; they train the instance heads (ours)
    cfg.ACTIVE.PANOPTIC = False
    # A mean teacher's labels for what was not bought, in mixed (and masked) images, by SELF_TRAINING.*; bought labels stand
    # in their place there and count fully (ours)
    cfg.ACTIVE.SELF_TRAINING = False
    # RIPU's setting without source data: no file of DATASETS.TRAIN is read; MODEL.WEIGHTS are a model of the source
    cfg.ACTIVE.SOURCE_FREE = False
    cfg.ACTIVE.NUM_OVERLAYS = 8  # pictures of what was bought, after each round


def _add_test_keys(cfg: CN) -> None:
    cfg.TEST.PROTOCOLS = ("19",)  # names in gbw_panoptic.taxonomy.PROTOCOLS; the first one is the headline
    cfg.TEST.MODEL = "student"  # whose last iteration is the headline: student or teacher (both are evaluated)
    cfg.TEST.RARE_CLASSES = 5  # the k source-rarest classes whose mean recall is reported
    cfg.TEST.INSTANCE_AP = False  # Cityscapes AP of the panoptic maps' things, too
    cfg.TEST.NUM_PANELS = 8  # pictures (image, truth, prediction, error) in the report


def _add_tracking_keys(cfg: CN) -> None:
    # metrics.json and TensorBoard are always written
    cfg.TRACKING = CN()
    cfg.TRACKING.WANDB = False  # Weights & Biases, too; needs `pip install wandb`, offline with WANDB_MODE=offline
    cfg.TRACKING.PROJECT = "gbw-panoptic"  # its project there

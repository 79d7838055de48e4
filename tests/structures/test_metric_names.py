"""Names in metrics.json: what is made is read, and nothing else."""

from hypothesis import given
from hypothesis import strategies as st

from gbw_panoptic.structures.metric_names import KINDS, ClassScalar, class_scalar, is_loss, is_score, score, skipped

PART = st.text("abc_ .", min_size=1)


@given(branch=PART, head=PART, kind=st.sampled_from(KINDS), name=st.text("abc/ ", min_size=1))
def test_a_class_scalar_is_read_as_it_was_made(branch, head, kind, name):
    scalar = ClassScalar(f"{branch}/{head}", kind, name)
    assert class_scalar(str(scalar)) == scalar and not is_score(str(scalar))


def test_names_of_one_kind_are_none_of_another():
    assert str(ClassScalar("source/sem_seg", "weight", "traffic light")) == "gbw/source/sem_seg/weight/traffic light"
    assert skipped("source/sem_seg") == "gbw/source/sem_seg/skipped" and class_scalar(skipped("source/sem_seg")) is None
    assert score("teacher", "panoptic", "16", "PQ") == "teacher/panoptic/16/PQ" and is_score(
        "teacher/panoptic/16/PQ/car"
    )
    losses = ("total_loss", "source/loss_center", "a/b/loss_x", "loss_sem_seg")
    others = ("pseudo_labels/loss_ratio", "lr", "source/loss_x/more", "gbw/source/sem_seg/skipped")
    assert all(map(is_loss, losses)) and not any(map(is_loss, others))
    assert not any(map(is_score, [*losses, *others[:3]]))

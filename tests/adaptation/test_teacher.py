"""Mean teacher: ramp, names, buffers, decay 0."""

import pytest
import torch
from torch import nn

from gbw_panoptic.adaptation import MeanTeacher


class Student(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.register_buffer("index", torch.arange(500) * 7919)
        self.register_buffer("flag", torch.tensor(False))

    def forward(self, x):
        return self.norm(self.layer(x))


def change(model, seed=0):
    torch.manual_seed(seed)
    for parameter in model.parameters():
        parameter.data.normal_()
    for _ in range(3):
        model(torch.randn(2, 3, 8, 8))
    model.flag.fill_(True)
    return model


def test_first_update_copies_exactly():
    student = Student()
    teacher = MeanTeacher(student, decay=0.9)
    change(student)
    teacher.update(student, 0)
    for name, tensor in teacher.model.state_dict().items():
        assert torch.equal(tensor, student.state_dict()[name]), name


def test_decay_zero_gives_the_students_outputs():
    student = Student()
    teacher = MeanTeacher(student, decay=0.0)
    for iteration in range(3):
        change(student, iteration)
        teacher.update(student, iteration)
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(teacher.model(x), student.eval()(x))


@pytest.mark.parametrize("iteration, decay", [(1, 0.5), (3, 0.75), (1000, 0.9)])
def test_ramp_and_average(iteration, decay):
    student = Student()
    teacher = MeanTeacher(student, decay=0.9)
    old = {name: tensor.clone() for name, tensor in teacher.model.state_dict().items()}
    change(student)
    teacher.update(student, iteration)
    new, target = teacher.model.state_dict(), student.state_dict()
    for name in ("layer.weight", "norm.running_mean", "norm.running_var"):
        torch.testing.assert_close(new[name], decay * old[name] + (1 - decay) * target[name])
    assert torch.equal(new["index"], target["index"]) and new["index"].dtype == torch.int64
    assert new["norm.num_batches_tracked"] == 3 and new["flag"]


def test_teacher_evaluates_and_has_no_gradient():
    student = Student()
    teacher = MeanTeacher(student, decay=0.9)
    assert not teacher.model.training and student.training
    assert not any(parameter.requires_grad for parameter in teacher.model.parameters())


def test_decay_of_one_is_refused():
    with pytest.raises(ValueError, match="EMA_DECAY"):
        MeanTeacher(Student(), decay=1.0)

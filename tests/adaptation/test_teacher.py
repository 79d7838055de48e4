"""Mean teacher: ramp, names, buffers, decay 0, burn-in."""

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


def test_burn_in_equals_a_naive_teacher():
    """Fixed, then the student's copy, then an average of alpha without ramp: by hand, tensor by tensor."""
    student = Student()
    teacher = MeanTeacher(change(Student(), 99), decay=0.75, burn_in_iters=3)
    fixed = {name: tensor.clone() for name, tensor in teacher.model.state_dict().items()}
    expected = None
    for iteration in range(7):
        change(student, iteration)
        teacher.update(student, iteration)
        new = {name: tensor.clone() for name, tensor in student.state_dict().items()}
        if iteration < 3:
            expected = fixed
        elif iteration == 3:
            expected = new
        else:
            expected = {
                name: 0.75 * expected[name] + 0.25 * value if value.is_floating_point() else value
                for name, value in new.items()
            }
        for name, tensor in teacher.model.state_dict().items():
            assert tensor.dtype == expected[name].dtype
            torch.testing.assert_close(tensor, expected[name], rtol=1e-6, atol=1e-7)
        if iteration <= 3:
            assert all(torch.equal(tensor, expected[name]) for name, tensor in teacher.model.state_dict().items())


@pytest.mark.parametrize("burn_in, decays", [(0, [0.0, 0.5, 2 / 3, 0.7, 0.7]), (2, [1.0, 1.0, 0.0, 0.7, 0.7])])
def test_the_ramp_is_there_without_a_burn_in_only(burn_in, decays):
    teacher = MeanTeacher(Student(), decay=0.7, burn_in_iters=burn_in)
    assert [teacher.decay_at(iteration) for iteration in range(5)] == pytest.approx(decays)

import torch

from bmc.train.losses import base_loss, expert_loss, feature_distance, task_loss


def test_feature_distance_is_the_sum_over_layers_of_plain_euclidean_norms():
    teacher = [torch.zeros(1, 2, 2), torch.zeros(1, 2, 1)]
    student = [torch.tensor([[[3.0, 4.0], [0.0, 0.0]]]), torch.tensor([[[2.0], [-6.0]]])]
    # sample 1: 5 + 2, sample 2: 0 + 6; mean over the batch
    torch.testing.assert_close(feature_distance(teacher, student), torch.tensor([6.5]))


def test_the_teacher_receives_no_gradient_and_equal_features_give_a_finite_one():
    teacher = torch.ones(1, 2, 3, requires_grad=True)
    student = torch.ones(1, 2, 3, requires_grad=True)
    feature_distance([teacher], [student]).sum().backward()
    assert teacher.grad is None
    assert torch.equal(student.grad, torch.zeros(1, 2, 3))


def test_gradients_pull_the_student_towards_the_teacher():
    student = torch.full((1, 1, 2), 2.0, requires_grad=True)
    feature_distance([torch.zeros(1, 1, 2)], [student]).sum().backward()
    assert (student.grad > 0).all()


def test_task_loss_is_one_cross_entropy_per_copy_and_absent_classes_do_not_count():
    logits = torch.tensor([[[0.0, 0.0, float("-inf")]], [[0.0, 0.0, 0.0]]])
    losses = task_loss(logits, torch.tensor([[0], [2]]))
    torch.testing.assert_close(losses, torch.log(torch.tensor([2.0, 3.0])))


def test_the_equations_weigh_their_terms_as_written():
    task, distance = torch.tensor([2.0]), torch.tensor([3.0])
    assert expert_loss(task, distance, lam=0.5).item() == 2 + 0.5 * 3
    assert base_loss(task, distance, alpha=0.25, beta=2.0).item() == 0.25 * 2 + 2 * 3

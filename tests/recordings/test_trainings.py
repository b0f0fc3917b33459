"""Which rows make a training, and whether its curves go by epoch or by step."""

import pytest
from curve_files import drawn, only, points

from keras_lrplateau.recordings.reading import read


def test_epochs_that_start_again_are_another_training(write):
    found = read(write("epoch,loss\n0,1\n1,2\n0,3\n0,4\n1,5\n"))
    assert [each.name for each in found] == ["log.csv", "log.csv (2)", "log.csv (3)"]
    assert [points(each.curves["loss"]) for each in found] == [[(0, 1.0), (1, 2.0)], [(0, 3.0)], [(0, 4.0), (1, 5.0)]]
    assert {each.notes for each in found} == {("The epochs start again at lines 4, 5: read as 3 trainings.",)}


def test_epochs_that_go_back_to_a_later_one_are_a_resume_which_replaces(write):
    found = only(write("epoch,loss\n1,1\n2,2\n3,3\n4,4\n3,30\n4,40\n5,50\n"))
    assert drawn(found)["loss"] == [(0, 1.0), (1, 2.0), (2, 30.0), (3, 40.0), (4, 50.0)]
    assert found.notes == ("Line 6 goes back to epoch 3: what there was from there on is replaced.",)


def test_an_epoch_done_twice_by_a_resume_is_replaced(write):
    assert drawn(only(write("epoch,loss\n0,1\n1,2\n1,20\n2,3\n")))["loss"] == [(0, 1.0), (1, 20.0), (2, 3.0)]


@pytest.mark.parametrize(
    "order",
    [
        [0, 1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9],
        [4, 8, 2, 11, 0, 9, 1, 10, 3, 7, 6, 5],
        [0, 1, 2, 4, 3, *range(5, 12)],
        [11, *range(11)],
    ],
)
@pytest.mark.parametrize(("counter", "first"), [("epoch", 0), ("epoch", 1), ("step", 0)])
def test_rows_out_of_order_are_sorted_where_no_count_comes_twice(write, order, counter, first):
    found = only(write("\n".join([f"{counter},loss", *(f"{first + each},{each}.5" for each in order)]) + "\n"))
    assert drawn(found)["loss"] == [(each, each + 0.5) for each in range(12)]
    assert found.notes == (f"The rows are out of order, and no {counter} comes twice: they were sorted.",)


def test_a_training_behind_one_that_began_later_stays_another_one(write):
    found = read(write("epoch,loss\n5,1\n6,2\n0,3\n1,4\n"))
    assert [points(each.curves["loss"]) for each in found] == [[(5, 1.0), (6, 2.0)], [(0, 3.0), (1, 4.0)]]


def test_many_resumes_are_noted_once(write):
    found = only(
        write("\n".join(["epoch,loss", *(f"{start + each},1" for start in range(10) for each in range(3))]) + "\n")
    )
    assert found.notes == (
        "The epochs go back at lines 5, 8, 11, 14, 17 and 4 more: what there was from there on is replaced.",
    )


def test_names_repeated_amid_the_rows_are_skipped_or_begin_another_training(write):
    found = only(write("epoch,loss\n0,1\n1,2\nepoch,loss\n2,3\n"))
    assert drawn(found)["loss"] == [(0, 1.0), (1, 2.0), (2, 3.0)]
    found = read(write("loss,acc\n1,0.5\n2,0.5\nloss,acc\n3,0.5\n"))
    assert [points(each.curves["loss"]) for each in found] == [[(0, 1.0), (1, 2.0)], [(0, 3.0)]]
    assert found[0].notes == ("The names of the columns come again before line 5: read as 2 trainings.",)


def test_several_rows_an_epoch_are_steps_and_no_restarts(write):
    found = only(write("epoch,batch,loss\n0,0,6\n0,1,5\n1,0,4\n1,1,3\n2,0,2\n2,1,1\n"))
    assert found.unit == "step"
    assert drawn(found)["loss"] == [(0, 6.0), (1, 5.0), (2, 4.0), (3, 3.0), (4, 2.0), (5, 1.0)]


def test_several_rows_an_epoch_with_one_validation_are_epochs_and_the_mean(write):
    found = only(write("epoch,loss,val_loss\n0,6,\n0,4,5\n1,3,\n1,1,2\n"))
    assert found.unit == "epoch"
    assert drawn(found) == {"loss": [(0, 5.0), (1, 2.0)], "val_loss": [(0, 5.0), (1, 2.0)]}
    assert found.notes == ("'loss': several values in an epoch; their mean is taken.",)


def test_a_training_without_numbers_is_passed_over(write):
    found = only(write("epoch,loss\n0,\n0,1\n1,2\n"))
    assert (found.name, drawn(found)) == ("log.csv", {"loss": [(0, 1.0), (1, 2.0)]})


def test_a_restart_by_steps(write):
    found = read(write("step,loss\n10,1\n20,2\n10,3\n20,4\n"))
    assert [(each.unit, points(each.curves["loss"])) for each in found] == [
        ("step", [(10, 1.0), (20, 2.0)]),
        ("step", [(10, 3.0), (20, 4.0)]),
    ]


def test_a_validation_before_the_training_is_left_out(write):
    found = only(write("step,loss,val_loss\n-1,,9\n99,2,5\n199,1,4\n"))
    assert drawn(found) == {"loss": [(99, 2.0), (199, 1.0)], "val_loss": [(99, 5.0), (199, 4.0)]}
    assert found.notes == ("'step' is negative in 1 of 3 rows, which were left out.",)
    found = only(write("epoch,step,loss\n0,-1,2\n1,-1,1\n"))
    assert drawn(found) == {"loss": [(0, 2.0), (1, 1.0)]}
    assert (found.steps, found.notes) == ({}, ("'step' is negative in 2 of 2 rows, and was left out.",))


# --- Lightning -------------------------------------------------------------------------------------------------------

LIGHTNING = """\
epoch,lr-Adam,step,test_loss,train_loss,val_loss
,0.1,49,,,
0,,99,,,6.0
,0.1,99,,,
0,,99,,5.0,
,0.05,149,,,
1,,199,,,4.0
1,,199,,3.0,
,0.025,249,,,
2,,200,2.0,,
"""


def test_a_sparse_lightning_file_is_joined_by_epoch(write):
    text = LIGHTNING.replace(",0.025,249,,,\n", "")
    assert drawn(only(write(text))) == {
        "learning_rate": [(0, 0.1), (1, 0.05)],
        "test_loss": [(2, 2.0)],
        "train_loss": [(0, 5.0), (1, 3.0)],
        "val_loss": [(0, 6.0), (1, 4.0)],
    }


def test_a_learning_rate_after_the_last_epoch_is_of_the_one_that_had_begun(write):
    text = LIGHTNING.replace("2,,200,2.0,,\n", "")
    assert drawn(only(write(text)))["learning_rate"] == [(0, 0.1), (1, 0.05), (2, 0.025)]


def test_a_learning_rate_logged_at_the_start_of_an_epoch_is_of_that_epoch(write):
    found = only(write("epoch,lr-SGD,step,val_loss\n,0.1,0,\n0,,99,6\n,0.05,100,\n1,,199,4\n"))
    assert drawn(found)["learning_rate"] == [(0, 0.1), (1, 0.05)]


def test_lightning_training_metrics_logged_by_step_become_their_mean_beside_one_validation(write):
    found = only(write("epoch,step,train_loss,val_loss\n0,49,8,\n0,99,6,\n0,99,,5\n1,149,4,\n1,199,2,\n1,199,,3\n"))
    assert found.unit == "epoch"
    assert drawn(found) == {"train_loss": [(0, 7.0), (1, 3.0)], "val_loss": [(0, 5.0), (1, 3.0)]}


def test_a_file_that_counts_epochs_and_steps_keeps_both(write):
    found = only(write("epoch,step,train_loss,val_loss\n0,49,8,\n0,99,6,\n0,99,,5\n1,149,4,\n1,249,2,\n1,249,,3\n"))
    assert (found.unit, found.steps) == ("epoch", {0: 99, 1: 249})
    assert only(write("step,val_loss\n99,5\n249,3\n")).steps == {}


def test_several_validations_an_epoch_make_steps(write):
    found = only(write("epoch,step,train_loss,val_loss\n0,49,,8\n0,99,,6\n0,99,5,\n1,149,,4\n1,199,,2\n1,199,1,\n"))
    assert found.unit == "step"
    assert drawn(found)["val_loss"] == [(49, 8.0), (99, 6.0), (149, 4.0), (199, 2.0)]
    assert found.steps == {}


def test_a_repeated_test_after_the_training_makes_no_steps(write):
    found = only(write("epoch,step,test_loss,val_loss\n0,99,,8\n1,199,,6\n2,200,5,\n2,200,4,\n"))
    assert (found.unit, drawn(found)["test_loss"]) == ("epoch", [(2, 4.0)])
    assert found.notes == ("'test_loss': several values in an epoch; the last one is taken.",)


def test_lightning_that_validates_every_second_epoch_still_counts_from_0(write):
    found = only(write("val_loss,epoch,step\n3,1,199\n2,3,399\n1,5,599\n"))
    assert drawn(found)["val_loss"] == [(1, 3.0), (3, 2.0), (5, 1.0)]

"""Errors that are reported to the user."""

from fgsn.errors import FgsnError, MissingExtraError, UsageError, nearest


def test_the_nearest_word_is_named_and_else_all():
    assert nearest("clutsers", ["seed", "clusters", "batch"]) == "did you mean 'clusters'?"
    assert nearest("xyz", ["seed", "batch"]) == "known are: batch, seed"
    assert nearest("xyz", map(str, range(100, 140))).endswith(", 129 and 10 more")


def test_exit_codes():
    assert FgsnError("x").exit_code == 1
    assert UsageError("x").exit_code == 2
    assert MissingExtraError("poselib", "loc").exit_code == 1


def test_a_missing_extra_says_how_to_install_it():
    assert str(MissingExtraError("poselib", "loc")) == (
        "this needs the package 'poselib': install it with pip install 'fgsn[loc]'"
    )

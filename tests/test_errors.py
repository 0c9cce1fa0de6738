"""What the system says of a disk, in our words."""

import errno

import pytest

from score_jax.errors import ImageError, OutputError, errors_of_disk

TENSORSTORE = (
    'Error writing "/data/x/c/0": Failed to write: No space left on device '
    "[os_error_code='28'] [source locations='...']"
)


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (OSError(errno.ENOSPC, "text of the system"), "No space left on device"),
        (OSError("without a number"), "without a number"),
        (ValueError(TENSORSTORE), "No space left on device"),
        (ValueError("Saving failed\nfile: Disk quota exceeded"), "Disk quota exceeded"),
    ],
)
def test_errors_of_disk_name_the_folder(error, what):
    with pytest.raises(OutputError) as caught, errors_of_disk("there"):
        raise error
    assert caught.value.message == f"there: cannot be written ({what})"


@pytest.mark.parametrize("error", [OutputError("told already"), ValueError("a mistake of ours")])
def test_other_errors_pass(error):
    with pytest.raises(type(error)) as caught, errors_of_disk("there"):
        raise error
    assert caught.value is error


def test_a_bad_image_is_no_error_of_the_disk():
    with pytest.raises(ImageError), errors_of_disk("there"):
        raise ImageError("a.nii.gz: not an image")

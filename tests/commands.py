"""What a command that refuses its input shows its user."""


def refused(result, *words):
    """Exit 2, nothing on standard output, the last line of standard error says all of `words`."""
    status, out, err = result
    assert status == 2, err
    assert out == ""
    line = err.strip().splitlines()[-1]
    assert line.startswith("score-jax: ")
    assert "Traceback" not in err
    for word in words:
        assert word in line, line

"""The README's program prints what the README says."""

import contextlib
import io
import pathlib
import re


def test_quick_start_prints_its_output():
    readme = (pathlib.Path(__file__).parents[1] / "README.md").read_text()
    program, output = re.search(r"```python\n(import numpy.*?)```\n+```text\n(.*?)```", readme, re.DOTALL).groups()
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(program, {})
    assert printed.getvalue() == output

import io

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from secure_fcl.cli.tables import EDGES, GAP, print_line, print_table, split


def printed(heading: list[str], rows: list[list[str]], width: int = 80, text_columns: int = 1) -> str:
    buffer = io.StringIO()
    console = Console(file=buffer, width=width, color_system=None)
    print_table(console, "Title", heading, rows, text_columns=text_columns)
    return buffer.getvalue()


@given(least=st.lists(st.integers(1, 40), min_size=1, max_size=12), width=st.integers(20, 100))
def test_every_column_stands_once_in_order_beside_the_first(least: list[int], width: int) -> None:
    tables = split(least, width)
    assert [place for table in tables for place in table[1:]] == list(range(1, len(least)))
    for table in tables:
        assert table[0] == 0
        assert len(table) <= 2 or EDGES + sum(least[p] for p in table) + GAP * (len(table) - 1) <= width


WORDS = st.lists(st.text("abcdefghij", min_size=1, max_size=18), min_size=1, max_size=3).map(" ".join)


@given(rows=st.lists(st.lists(WORDS, min_size=6, max_size=6), min_size=1, max_size=4), text=st.integers(1, 6))
def test_no_word_is_broken_and_no_line_is_longer_than_the_console(rows: list[list[str]], text: int) -> None:
    heading = ["name", "second head", "third", "fourth", "budget", "in the sum"]
    shown = printed(heading, rows, text_columns=text)
    # Two cells of three words that may not wrap can be wider than the console; a line is then as long as they are.
    assert max(map(len, shown.splitlines())) <= 80 or text < 6
    found = set(shown.split())
    assert {word for row in rows for cell in row for word in cell.split()} <= found
    assert {word for head in heading for word in head.split()} <= found


def test_a_line_is_whole_and_its_brackets_are_no_markup() -> None:
    buffer = io.StringIO()
    place = f"report: /runs/[red]{'long' * 30}[/red]/report.html"
    print_line(Console(file=buffer, width=40, color_system=None), place)
    assert buffer.getvalue() == f"{place}\n"

"""All cells of an array, with the unselected lines grounded or, to see sneak currents, floating."""

from laboratory import arguments, array, carry_out, of_array, table


def main() -> None:
    parser = of_array(arguments(__doc__))
    parser.add_argument("--unselected", choices=("grounded", "floating"), default="grounded")
    options = parser.parse_args()
    with array(options, read_scheme=options.unselected) as cells:
        rows, columns = cells.shape
        places = ((row, column) for row in range(rows) for column in range(columns))
        table(options, ("row", "column", "siemens"), ((*place, cells.read_cell(*place)) for place in places))


if __name__ == "__main__":
    carry_out(main)

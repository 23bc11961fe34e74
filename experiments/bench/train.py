"""Train an experiment between instruments; as `substrate run`, with the addresses of the command line."""

from laboratory import FOLDER, arguments, carry_out, experiment

from substrate import run


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--experiment", default=str(FOLDER / "xor.yaml"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY.SUB=VALUE", help="override one key")
    options = parser.parse_args()
    print(run(experiment(options, options.set), options.output))


if __name__ == "__main__":
    carry_out(main)

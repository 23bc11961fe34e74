"""Starts the reference board; a board runs this file after every reset."""

import board
import converters

reader, writer = converters.port()
board.Board(converters.Converters(), reader, writer).run()

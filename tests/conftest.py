"""What every test needs of the process it runs in."""

import signal

# A shell that starts a job in the background has it ignore SIGINT, and children inherit that.
# Tests of Ctrl-C need what a person at a terminal has.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

"""A python-socketio client, of version 4 or 5, that registers whenever it is connected and prints its events.

    client.py URL TRANSPORT REGISTER_FRAME

Prints "registered" after each register, "disconnected" when the connection ends, and "gave up" when the client will not
reconnect by itself.
"""

import logging
import sys

import socketio

# The library logs idle queues at level error, which would be mixed with the lines that the test reads.
logging.disable()
url, transport, register = sys.argv[1:]
client = socketio.Client(reconnection_delay=0.05, reconnection_delay_max=0.2, randomization_factor=0)


def say(what):
    # Threads of the library call this at the same time, and print() writes the end of a line by itself.
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


@client.event
def connect():
    client.emit("message", register, callback=lambda answer: say("registered" if answer["code"] == 0 else answer))


@client.event
def disconnect(*_reason):
    say("disconnected")


client.connect(url, transports=[transport])
client.wait()
say("gave up")

"""Sessions: models that answer as values or pieces of text come in, key by key."""

from keras_seq.streaming.documents import StreamAnswer, TextSession
from keras_seq.streaming.opening import open_session
from keras_seq.streaming.opening_text import open_text_session
from keras_seq.streaming.sessions import ForecastSession, Stepper, StreamForecast
from keras_seq.streaming.store import KeyedStates
from keras_seq.streaming.windowed import WindowedStepper

__all__ = [
    "ForecastSession",
    "KeyedStates",
    "Stepper",
    "StreamAnswer",
    "StreamForecast",
    "TextSession",
    "WindowedStepper",
    "open_session",
    "open_text_session",
]

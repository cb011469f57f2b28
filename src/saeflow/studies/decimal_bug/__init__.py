"""The study of the decimal bug (methods/4): formats, layers, heads and features behind a wrong answer."""

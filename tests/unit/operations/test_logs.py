import io

import pytest

from todo.operations.logs import LogFormat, StreamSink


@pytest.mark.parametrize("log_format", ["pretty", "json"])
def test_a_stream_without_utf_8_does_not_end_the_writing(log_format: LogFormat) -> None:
    written = io.BytesIO()
    sink = StreamSink(log_format, io.TextIOWrapper(written, encoding="ascii", write_through=True))
    sink.line("backend", "Blumen gießen 🌱")
    sink.line("backend", "the next line")
    sink.close()
    assert b"the next line" in written.getvalue()

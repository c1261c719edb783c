"""The SDK without a processor: what handlers' own unit tests use."""

import datetime
import json
import logging
import pickle
import subprocess
import sys
import unittest

import nuclio_sdk
from nuclio_sdk import Context, Event, Headers, Logger, Reject, Response, Retry, TriggerInfo


class EventMadeByHand(unittest.TestCase):
    def test_defaults_are_those_of_nuclio(self):
        event = Event()
        self.assertIsNone(event.body)
        self.assertIsNone(event.content_type)
        self.assertEqual((event.trigger.kind, event.trigger.name), ("", ""))
        self.assertEqual((event.fields, event.headers), ({}, {}))
        self.assertEqual((event.path, event.timestamp, event.offset), ("/", 0, 0))
        self.assertIs(event.last_in_batch, False)
        for name in ("id", "method", "size", "url", "shard_id", "num_shards", "topic"):
            self.assertIsNone(getattr(event, name), name)
        self.assertEqual((event.attempt, event.key, event.deadline), (1, None, None))

    def test_parameters_are_those_of_nuclio_in_their_order(self):
        trigger = TriggerInfo("http", "web")
        event = Event(b"b", "text/plain", trigger, {"a": "1"}, {"X-A": "1"}, "id", "POST", "/p")
        self.assertIs(event.trigger, trigger)
        self.assertEqual((event.body, event.fields, event.id), (b"b", {"a": "1"}, "id"))
        self.assertEqual((event.method, event.path), ("POST", "/p"))
        named = Event(_id="i", _type="t", topic="x", offset=3, last_in_batch=True, key=b"k")
        self.assertEqual((named.id, named.type, named.topic), ("i", "t", "x"))
        self.assertEqual((named.offset, named.last_in_batch, named.key), (3, True, b"k"))

    def test_unknown_fields_are_refused(self):
        with self.assertRaisesRegex(TypeError, "no field 'bodi'"):
            Event(bodi=b"x")
        with self.assertRaisesRegex(TypeError, "at most 19"):
            Event(*range(20))

    def test_everything_can_be_set_as_on_any_object(self):
        event = Event(body=b"old")
        event.body = {"new": 1}
        event.method = "PUT"
        event.mine = 5
        self.assertEqual((event.body, event.method, event.mine), ({"new": 1}, "PUT", 5))
        event.headers["X-A"] = "1"
        event.fields["q"] = "2"
        self.assertEqual((event.headers["x-a"], event.fields["q"]), ("1", "2"))

    def test_headers_have_no_case(self):
        event = Event(headers={"X-Token": "t"})
        self.assertEqual(event.get_header("x-token"), "t")
        self.assertIsNone(event.get_header("X-Other"))
        event.headers = {"plain": "dict"}
        self.assertEqual(event.get_header("PLAIN"), "dict")

    def test_body_view_of_what_was_set(self):
        self.assertEqual(bytes(Event(body=b"abc").body_view), b"abc")
        self.assertEqual(bytes(Event(body="é").body_view), "é".encode())
        self.assertEqual(bytes(Event().body_view), b"")
        with self.assertRaises(TypeError):
            _ = Event(body=5).body_view

    def test_to_json_is_as_nuclio_writes_it(self):
        moment = datetime.datetime(2026, 1, 2, 3, 4, 5)
        event = Event(body=b"\x00", headers={"A": "b"}, timestamp=moment, _id="7")
        event.mine = 1
        said = json.loads(event.to_json())
        self.assertEqual(said["body"], "AA==")
        self.assertEqual(said["trigger"], {"kind": "", "name": ""})
        self.assertEqual(said["timestamp"], "2026-01-02 03:04:05")
        self.assertEqual((said["headers"], said["id"], said["mine"]), ({"A": "b"}, "7", 1))
        self.assertEqual(repr(event), event.to_json())

    def test_it_can_be_subclassed(self):
        class Mine(Event):
            def __init__(self, number):
                super().__init__(body=str(number))
                self.number = number

        self.assertEqual((Mine(3).body, Mine(3).number), ("3", 3))

    def test_cycles_are_collected(self):
        import gc
        import weakref

        class Canary:
            pass

        event = Event()
        canary = Canary()
        gone = weakref.ref(canary)
        event.body = [event, canary]
        del event, canary
        gc.collect()
        self.assertIsNone(gone())


class HeadersBehave(unittest.TestCase):
    def setUp(self):
        self.headers = Headers({"Content-Type": "text/plain", "x-odd-Case": "1"})

    def test_lookup_in_any_case(self):
        for name in ("Content-Type", "content-type", "CONTENT-TYPE"):
            self.assertEqual(self.headers[name], "text/plain")
            self.assertEqual(self.headers.get(name), "text/plain")
            self.assertIn(name, self.headers)
        self.assertEqual(self.headers["X-ODD-CASE"], "1")
        self.assertNotIn("X-None", self.headers)
        self.assertIsNone(self.headers.get("X-None"))
        self.assertEqual(self.headers.get("X-None", 5), 5)
        with self.assertRaises(KeyError):
            self.headers["X-None"]

    def test_setting_and_deleting_in_any_case(self):
        self.headers["content-TYPE"] = "a/b"
        self.assertEqual(list(self.headers), ["Content-Type", "x-odd-Case"])
        self.assertEqual(self.headers["Content-Type"], "a/b")
        del self.headers["CONTENT-TYPE"]
        self.assertEqual(self.headers.pop("X-Odd-Case"), "1")
        self.assertEqual(self.headers.pop("X-Odd-Case", None), None)
        self.assertEqual(self.headers, {})
        self.assertEqual(self.headers.setdefault("A", "1"), "1")
        self.assertEqual(self.headers.setdefault("a", "2"), "1")
        self.headers.update({"a": "3"}, b="4")
        self.assertEqual(self.headers, {"A": "3", "b": "4"})

    def test_repeated_lines(self):
        self.headers.add("Cookie", "a")
        self.headers.add("cookie", "b")
        self.headers.add("COOKIE", "c")
        self.assertEqual(self.headers["Cookie"], "a")
        self.assertEqual(self.headers.get_all("cookie"), ["a", "b", "c"])
        self.assertEqual(self.headers.get_all("Content-type"), ["text/plain"])
        self.assertEqual(self.headers.get_all("X-None"), [])
        copy = self.headers.copy()
        self.headers["cookie"] = "only"
        self.assertEqual(self.headers.get_all("Cookie"), ["only"])
        self.assertEqual(copy.get_all("Cookie"), ["a", "b", "c"])

    def test_it_is_a_dict(self):
        self.assertIsInstance(self.headers, dict)
        plain = {"Content-Type": "text/plain", "x-odd-Case": "1"}
        self.assertEqual(json.loads(json.dumps(self.headers)), plain)
        self.assertEqual(dict(self.headers), plain)
        self.assertEqual({**self.headers}, plain)
        self.assertEqual(pickle.loads(pickle.dumps(self.headers))["content-type"], "text/plain")


class ResponseBehaves(unittest.TestCase):
    def test_defaults_are_those_of_nuclio(self):
        response = Response()
        self.assertEqual(response.headers, {})
        self.assertEqual((response.status_code, response.content_type), (200, "text/plain"))
        self.assertEqual((response.body, response.event_id), (None, None))

    def test_parameters_are_those_of_nuclio_in_their_order(self):
        response = Response({"A": "1"}, "body", "text/html", 201, "id")
        self.assertEqual((response.headers, response.body), ({"A": "1"}, "body"))
        self.assertEqual((response.content_type, response.status_code), ("text/html", 201))
        self.assertEqual(response.event_id, "id")

    def test_headers_are_its_own(self):
        Response().headers["A"] = "1"
        self.assertEqual(Response().headers, {})
        response = Response()
        response.headers["A"] = "1"
        self.assertEqual(response.headers, {"A": "1"})
        response.ensure_no_ack()
        self.assertEqual(response.headers["x-nuclio-stream-no-ack"], True)

    def test_subclass_with_its_own_parameters(self):
        class NotFound(Response):
            def __init__(self, what):
                super().__init__(body=f"no {what}", status_code=404)
                self.what = what

        response = NotFound("order")
        self.assertEqual((response.body, response.status_code), ("no order", 404))
        self.assertEqual(response.what, "order")
        self.assertIsInstance(response, Response)
        self.assertIn("404", repr(response))


class ContextMadeByHand(unittest.TestCase):
    def test_what_a_handler_uses(self):
        context = Context()
        context.user_data.anything = 1
        context.user_data.db = object()
        self.assertIs(context.Response, nuclio_sdk.Response)
        self.assertEqual((context.trigger.kind, context.trigger_name), ("", ""))
        self.assertEqual(context.platform.namespace, "default")

    def test_results_beyond_a_value(self):
        retry, reject = Context().retry(after=2), Context().reject("never")
        self.assertIsInstance(retry, Retry)
        self.assertIsInstance(reject, Reject)
        self.assertEqual((retry.after, reject.reason), (2.0, "never"))
        with self.assertRaises(Retry):
            raise retry

    def test_handlers_can_be_called_in_a_test(self):
        def handler(context, event):
            context.logger.info("got %s", event.body)
            return context.Response(body=event.body, status_code=201)

        said = handler(Context(logger=Logger(level="error")), Event(body=b"x"))
        self.assertEqual((said.body, said.status_code), (b"x", 201))


class LoggerBehaves(unittest.TestCase):
    def logged(self, code):
        """What a program of its own logs; without a processor that goes to standard error."""
        program = "import nuclio_sdk, logging\nlog = nuclio_sdk.Logger\n" + code
        run = subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        return run.stderr.splitlines()

    def test_levels_and_formats(self):
        lines = self.logged(
            "l = log(level='info')\n"
            "l.debug('no'); l.info('a %s', 1); l.warn('b'); l.warning('c'); l.error('d %d%%', 5)\n"
            "l.info_with('e', x=1, y='é', z={'k': [1.5, None, True]})\n"
            "l.bind(b=2); l.info('f'); l.info_with('g', a=1, b=3)\n"
        )
        self.assertEqual(
            lines,
            [
                "info a 1",
                "warn b",
                "warn c",
                "error d 5%",
                'info e {"x": 1, "y": "\\u00e9", "z": {"k": [1.5, null, true]}}',
                'info f {"b": 2}',
                'info g {"a": 1, "b": 2}',
            ],
        )

    def test_what_does_not_fit_is_logged_all_the_same(self):
        lines = self.logged(
            "class Broken:\n    def __str__(self): raise RuntimeError\n"
            "l = log()\n"
            "l.info('%d', 'x'); l.info_with('a', o=object, s={1}); l.info_with('b', x=Broken())\n"
            "l.info(5); l.info('100%')\n"
        )
        self.assertEqual(lines[0], "info %d ('x',)")
        self.assertEqual(lines[1], """info a {"o": "<class 'object'>", "s": "{1}"}""")
        self.assertEqual(lines[2:], ["info b", "info 5", "info 100%"])

    def test_level_names_and_numbers(self):
        self.assertEqual(self.logged("log(level=logging.WARNING).info('no')"), [])
        self.assertEqual(self.logged("log(level=logging.WARNING).warn('x')"), ["warn x"])
        with self.assertRaisesRegex(ValueError, "debug, info, warn or error, not 'loud'"):
            Logger(level="loud")
        self.assertIsNotNone(Logger(level=logging.DEBUG, name="any"))


class NamesOfNuclio(unittest.TestCase):
    """What only code written for nuclio's SDK asks for."""

    MESSAGE = {
        "body": "aGk=",
        "content_type": "text/plain",
        "trigger": {"kind": "kafka-cluster", "name": "orders"},
        "fields": {},
        "headers": {"X-A": "1"},
        "id": "7",
        "method": "POST",
        "path": "/p",
        "size": 4,
        "timestamp": 1700000000,
        "url": "/p",
        "shard_id": 3,
        "num_shards": 4,
        "type": "t",
        "type_version": "1",
        "version": "v",
        "offset": 9,
        "topic": "orders",
    }

    def test_events_of_messages(self):
        kinds = nuclio_sdk.EventDeserializerKinds
        event = Event.deserialize(json.dumps(self.MESSAGE), kinds.json)
        self.assertEqual((event.id, event.type, event.offset), ("7", "t", 9))
        self.assertEqual(event.timestamp, datetime.datetime(2023, 11, 14, 22, 13, 20))
        self.assertEqual((event.trigger.kind, event.get_header("x-a")), ("kafka-cluster", "1"))
        batch = Event.deserialize([self.MESSAGE] * 2, kinds.msgpack)
        self.assertEqual([one.topic for one in batch], ["orders"] * 2)
        raw = {name.encode(): value for name, value in self.MESSAGE.items()}
        raw[b"trigger"] = {b"kind": b"http", b"name": b"web"}
        raw.update({b"body": b'{"a": 1}', b"content_type": b"application/json"})
        event = Event.deserialize(raw)
        self.assertEqual((event.body, event.trigger.kind), ({"a": 1}, b"http"))

    def test_places_in_a_stream(self):
        event = Event(topic="orders", shard_id=3, offset=9)
        place = nuclio_sdk.QualifiedOffset.from_event(event)
        self.assertEqual((place.topic, place.partition, place.offset), ("orders", 3, 9))
        message = {"topic": "orders", "partition": 3, "offset": 9}
        self.assertEqual(event.compile_explicit_ack_message()["attributes"], message)
        self.assertEqual(
            nuclio_sdk.QualifiedOffset.from_event(Event(path="old", shard_id=1)).topic, "old"
        )

    def test_records_go_where_a_test_wants_them(self):
        import io

        from nuclio_sdk.logger import HumanReadableFormatter, JSONFormatter

        logger, file = Logger("info"), io.StringIO()
        logger.set_handler("default", file, JSONFormatter())
        logger.bind(user="ada")
        logger.info_with("took %d", 3, size=4)
        logger.debug("unseen")
        record = json.loads(file.getvalue())
        self.assertEqual((record["level"], record["message"]), ("info", "took 3"))
        self.assertEqual(record["with"], {"size": 4, "user": "ada"})
        logger.set_handler("default", file, HumanReadableFormatter())
        logger.warn("careful")
        self.assertIn("[warning] careful: {'user': 'ada'}", file.getvalue())

    def test_json_of_anything(self):
        from nuclio_sdk.json_encoder import Encoder

        odd = {"nan": float("nan"), "inf": [float("-inf")], "object": TriggerInfo("a", "b")}
        said = json.loads(Encoder().encode(odd))
        self.assertEqual((said["nan"], said["inf"]), ("NaN", ["-Infinity"]))
        self.assertIn("TriggerInfo", said["object"])

    def test_handlers_under_their_test_platform(self):
        from nuclio_sdk.test import Platform

        def handler(context, event):
            context.platform.call_function("other", event)
            return context.user_data.__class__.__name__

        platform = Platform()
        self.assertTrue(platform.call_handler(handler, Event()))
        self.assertEqual(platform.get_call_function_call_args(0)[0], "other")


class TheModule(unittest.TestCase):
    def test_import_is_light(self):
        """The SDK is part of each cold start: nothing that costs milliseconds comes with it."""
        program = "import nuclio_sdk, sys; print(*sys.modules)"
        run = subprocess.run(
            [sys.executable, "-S", "-c", program],
            env={"PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        heavy = {"asyncio", "json", "inspect", "typing", "dataclasses", "enum", "re", "logging"}
        self.assertEqual(heavy & set(run.stdout.split()), set())

    def test_it_is_typed(self):
        import pathlib

        folder = pathlib.Path(nuclio_sdk.__file__).parent
        self.assertTrue((folder / "py.typed").exists())
        stub = (folder / "__init__.pyi").read_text()
        for name in nuclio_sdk.__all__:
            self.assertIn(f"class {name}", stub)


if __name__ == "__main__":
    unittest.main()

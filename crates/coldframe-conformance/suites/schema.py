"""Whether answers are what AWS's model says: no unknown members, the right types and values."""

import collections
import datetime
import json
import re
import xml.etree.ElementTree

REQUEST_ID = r"\A[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z"

# service-api.md, notes on §1: here the real service differs from the model.
STATUSES = {"DeleteFunction": {204}, "Invoke": {200, 202, 204}}
# §2.3: while an update is in progress AWS's reason is one of another enumeration.
SIC = re.compile(r"LastUpdateStatusReasonCode: 'Creating' is not of the enumeration\Z")
# §2.14: without a configuration the answer has neither member.
SIC_MISSING = re.compile(r"GetFunctionCodeSigningConfig\.\w+ is missing\Z")
# Appendix D, last lines, and §9.6: sent, but not modelled.
UNMODELLED = {
    "AccessDeniedException",
    "NotImplementedException",
    "RequestEntityTooLargeException",
    "SerializationException",
    "ValidationException",
}


def watch(client):
    """Looks at every answer that the client gets from now on; a count of operations and errors."""
    seen = collections.Counter()

    checks = check if client.meta.service_model.service_name == "lambda" else check_companion

    def look(operation_model, response_dict, **_):
        seen[checks(operation_model, response_dict)] += 1

    client.meta.events.register("before-parse", look)
    return seen


def check_companion(operation_model, response_dict):
    """As [`check`], of what other services than Lambda succeed with; their errors are not looked at."""
    operation, body = operation_model.name, response_dict["body"]
    shape = operation_model.output_shape
    if response_dict["status_code"] >= 300:
        return None
    protocol = operation_model.service_model.resolved_protocol
    if protocol == "query":
        root = xml.etree.ElementTree.fromstring(body)
        names = [child.tag.partition("}")[2] for child in root]
        wrapper = [shape.serialization["resultWrapper"]] if shape else []
        assert names == [*wrapper, "ResponseMetadata"], (operation, body)
        found = problems(shape, from_xml(shape, root[0]), operation) if shape else []
    else:
        assert protocol == "json", protocol
        assert response_dict["headers"]["content-type"].startswith("application/x-amz-json-1.")
        found = problems(shape, json.loads(body), operation) if shape else []
        assert shape or not body, (operation, body)
    assert found == [], found
    return operation


def from_xml(shape, element):
    """An element of the query protocol as the JSON that [`problems`] looks at."""
    kind = shape.type_name
    if kind == "structure":
        names = {member.serialization.get("name", name): member for name, member in shape.members.items()}
        given = {}
        for child in element:
            name = child.tag.partition("}")[2]
            assert name not in given, f"{name} stands twice in {shape.name}"
            given[name] = from_xml(names[name], child) if name in names else child.text
        return given
    if kind == "list":
        name = shape.member.serialization.get("name", "member")
        assert all(child.tag.partition("}")[2] == name for child in element), shape.name
        return [from_xml(shape.member, child) for child in element]
    text = element.text or ""
    if kind == "boolean":
        return {"true": True, "false": False}[text]
    if kind in ("integer", "long"):
        return int(text)
    if kind == "timestamp":
        return datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").timestamp()
    assert kind == "string", f"{shape.name} is a {kind}"
    return text


def check(operation_model, response_dict):
    """Fails at what is not of the model; the operation, or the code of its error."""
    operation, status = operation_model.name, response_dict["status_code"]
    headers, body = response_dict["headers"], response_dict["body"]
    assert re.search(REQUEST_ID, headers["x-amzn-requestid"]), headers
    if status < 300:
        modelled = {operation_model.http.get("responseCode", 200)}
        assert status in STATUSES.get(operation, modelled), (operation, status)
        shape = operation_model.output_shape
        streams = operation_model.has_streaming_output or operation_model.has_event_stream_output
        if operation_model.has_event_stream_output:
            kind = headers["content-type"]
            assert kind == "application/vnd.amazon.eventstream", (operation, headers)
        if shape and not streams and status not in (202, 204):
            assert headers["content-type"] == "application/json", (operation, headers)
        told = shape and any("location" not in one.serialization for one in shape.members.values())
        if told and not streams and status != 204:
            found = problems(shape, json.loads(body), operation)
            found = [one for one in found if not SIC.search(one) and not SIC_MISSING.search(one)]
            assert found == [], found
        if status == 204:
            rest = body.read() if hasattr(body, "read") else body
            assert rest == b"", (operation, rest)
        return operation
    code = headers["x-amzn-errortype"].split(":")[0]
    if hasattr(body, "read"):
        body = body.read()
    body = json.loads(body)
    assert body.pop("Type", None) == ("User" if status < 500 else "Service"), (code, body)
    if code in UNMODELLED:
        assert "message" in {key.lower() for key in body}, (code, body)
        return code
    shapes = [one for one in operation_model.error_shapes if one.name == code]
    assert len(shapes) == 1, f"{operation} has no {code} in the model"
    assert status == shapes[0].metadata["error"]["httpStatusCode"], (code, status)
    assert problems(shapes[0], body, code) == [], problems(shapes[0], body, code)
    assert {"message", "Message"} & set(body), (code, body)
    return code


def problems(shape, value, path):
    """Where a JSON value is not of a botocore shape, as sentences."""
    if value is None:
        return [f"{path} is null"]
    kind = shape.type_name
    if kind == "structure":
        if not isinstance(value, dict):
            return [f"{path}: {value!r} is no structure"]
        members = {
            member.serialization.get("name", name): member
            for name, member in shape.members.items()
            if "location" not in member.serialization
        }
        found = [
            f"{path}.{name} is missing" for name in shape.required_members if name not in value
        ]
        for name, member in value.items():
            if name in members:
                found += problems(members[name], member, f"{path}.{name}")
            else:
                found.append(f"{path}.{name} is not in the model")
        return found
    if kind == "list":
        if not isinstance(value, list):
            return [f"{path}: {value!r} is no list"]
        each = [problems(shape.member, one, f"{path}[{at}]") for at, one in enumerate(value)]
        return sum(each, [])
    if kind == "map":
        if not isinstance(value, dict):
            return [f"{path}: {value!r} is no map"]
        each = [problems(shape.value, one, f"{path}.{key}") for key, one in value.items()]
        return sum(each, [])
    types = {"string": str, "blob": str, "boolean": bool, "integer": int, "long": int}
    types |= {"timestamp": (int, float), "float": (int, float), "double": (int, float)}
    if not isinstance(value, types[kind]) or isinstance(value, bool) != (kind == "boolean"):
        return [f"{path}: {value!r} is no {kind}"]
    if kind == "string" and shape.enum and value not in shape.enum:
        return [f"{path}: {value!r} is not of the enumeration"]
    return []

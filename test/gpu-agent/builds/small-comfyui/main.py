"""A ComfyUI as small as can be: custom nodes are imported and run for real, in the build's own Python.

Speaks what the agent needs of the protocol: flags, /object_info, /prompt, /history, /view, uploads, the WebSocket.
"""

import argparse
import base64
import hashlib
import importlib.util
import json
import os
import re
import struct
import sys
import threading
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlparse

HERE = os.path.dirname(os.path.abspath(__file__))
parser = argparse.ArgumentParser()
for flag in ["listen", "port", "output-directory", "input-directory", "temp-directory", "user-directory", "cache-lru"]:
    parser.add_argument(f"--{flag}")
parser.add_argument("--disable-auto-launch", action="store_true")
parser.add_argument("--cpu", action="store_true")
args = parser.parse_args()


class LoadImage:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": (sorted(os.listdir(args.input_directory)), {"image_upload": True})}}

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"

    def run(self, image):
        with open(os.path.join(args.input_directory, image), "rb") as file:
            return (file.read(),)


class SaveImage:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"images": ("IMAGE",), "filename_prefix": ("STRING", {"default": "ComfyUI"})}}

    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True

    def run(self, images, filename_prefix):
        subfolder, name = os.path.split(filename_prefix)
        os.makedirs(os.path.join(args.output_directory, subfolder), exist_ok=True)
        filename = f"{name}_00001_.png"
        with open(os.path.join(args.output_directory, subfolder, filename), "wb") as file:
            file.write(images)
        return {"ui": {"images": [{"filename": filename, "subfolder": subfolder, "type": "output"}]}}


class CheckpointLoaderSimple:
    @classmethod
    def INPUT_TYPES(cls):
        folder = os.path.join(HERE, "models", "checkpoints")
        return {"required": {"ckpt_name": (sorted(os.listdir(folder)) if os.path.isdir(folder) else [], {})}}

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"

    def run(self, ckpt_name):
        with open(os.path.join(HERE, "models", "checkpoints", ckpt_name), "rb") as file:
            return (file.read(),)


class ShowEnvironment:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True

    def run(self):
        return {"ui": {"text": [json.dumps(dict(os.environ))]}}


classes = {
    "LoadImage": (LoadImage, "nodes"),
    "SaveImage": (SaveImage, "nodes"),
    "CheckpointLoaderSimple": (CheckpointLoaderSimple, "nodes"),
    "ShowEnvironment": (ShowEnvironment, "nodes"),
}


def load_packs():
    folder = os.path.join(HERE, "custom_nodes")
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        path = os.path.join(folder, name)
        init = os.path.join(path, "__init__.py")
        if not os.path.exists(init):
            continue
        failed = ""
        try:
            spec = importlib.util.spec_from_file_location(f"custom_nodes.{name}", init, submodule_search_locations=[path])
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module
            spec.loader.exec_module(module)
            for class_name, node in module.NODE_CLASS_MAPPINGS.items():
                classes[class_name] = (node, f"custom_nodes.{name}")
        except Exception as error:
            failed = " (IMPORT FAILED)"
            traceback.print_exc()
            print(f"Cannot import {path} module for custom nodes: {error}", file=sys.stderr)
        print(f"   0.0 seconds{failed}: {path}", file=sys.stderr)


def info(name):
    node, module = classes[name]
    inputs = node.INPUT_TYPES()
    return {
        "input": inputs,
        "output": list(node.RETURN_TYPES),
        "name": name,
        "python_module": module,
        "output_node": getattr(node, "OUTPUT_NODE", False),
    }


history = {}
sockets = []


def tell(kind, data):
    payload = json.dumps({"type": kind, "data": data}).encode()
    size = struct.pack("!BB", 0x81, len(payload)) if len(payload) < 126 else struct.pack("!BBH", 0x81, 126, len(payload))
    for stream in list(sockets):
        try:
            stream.write(size + payload)
            stream.flush()
        except OSError:
            sockets.remove(stream)


def run(prompt_id, graph):
    outputs, done, status, messages = {}, {}, "success", []

    def value_of(node_id):
        if node_id not in done:
            node = graph[node_id]
            inputs = {
                key: value_of(value[0])[value[1]] if isinstance(value, list) else value
                for key, value in node["inputs"].items()
            }
            instance = classes[node["class_type"]][0]()
            try:
                result = getattr(instance, instance.FUNCTION)(**inputs)
            except Exception as error:
                messages.append(
                    [
                        "execution_error",
                        {
                            "node_id": node_id,
                            "node_type": node["class_type"],
                            "exception_type": type(error).__name__,
                            "exception_message": str(error),
                        },
                    ]
                )
                raise
            if isinstance(result, dict):
                outputs[node_id] = result["ui"]
                result = ()
            done[node_id] = result
        return done[node_id]

    try:
        for node_id in graph:
            value_of(node_id)
    except Exception:
        traceback.print_exc()
        status = "error"
    history[prompt_id] = {"outputs": outputs, "status": {"status_str": status, "messages": messages}, "meta": {}}
    tell("executing", {"node": None, "prompt_id": prompt_id})


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, value, status=200):
        self.send(json.dumps(value).encode(), status, "application/json")

    def send(self, body, status=200, kind="application/octet-stream"):
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        url = urlparse(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        if url.path == "/ws":
            self.open_socket()
        elif url.path == "/system_stats":
            self.answer({"system": {"comfyui_version": "0.0.1", "argv": sys.argv}})
        elif url.path.startswith("/object_info/"):
            name = unquote(url.path.rsplit("/", 1)[1])
            self.answer({name: info(name)} if name in classes else {})
        elif url.path.startswith("/history/"):
            prompt_id = url.path.rsplit("/", 1)[1]
            self.answer({prompt_id: history[prompt_id]} if prompt_id in history else {})
        elif url.path == "/queue":
            self.answer({"queue_running": [], "queue_pending": []})
        elif url.path == "/view":
            path = os.path.join(args.output_directory, query.get("subfolder", ""), query["filename"])
            with open(path, "rb") as file:
                self.send(file.read())
        else:
            self.send(b"", 404)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/upload/image":
            self.upload(body)
            return
        message = json.loads(body)
        if self.path == "/prompt":
            unknown = [node["class_type"] for node in message["prompt"].values() if node["class_type"] not in classes]
            if unknown:
                self.answer({"error": {"type": "invalid_prompt", "message": f"node {unknown[0]} does not exist."}}, 400)
                return
            self.answer({"prompt_id": message["prompt_id"], "number": 1, "node_errors": {}})
            threading.Thread(target=run, args=(message["prompt_id"], message["prompt"])).start()
        elif self.path == "/history":
            for prompt_id in message["delete"]:
                history.pop(prompt_id, None)
            self.send(b"")
        else:
            self.send(b"")

    def upload(self, body):
        boundary = re.search("boundary=(.*)", self.headers["content-type"]).group(1).encode()
        fields = {}
        for part in body.split(b"--" + boundary):
            head, _, content = part.partition(b"\r\n\r\n")
            name = re.search(b'name="([^"]*)"(?:; filename="([^"]*)")?', head)
            if name:
                fields[name.group(1).decode()] = (content[:-2], (name.group(2) or b"").decode())
        subfolder, (content, filename) = fields["subfolder"][0].decode(), fields["image"]
        os.makedirs(os.path.join(args.input_directory, subfolder), exist_ok=True)
        with open(os.path.join(args.input_directory, subfolder, filename), "wb") as file:
            file.write(content)
        self.answer({"name": filename, "subfolder": subfolder, "type": "input"})

    def open_socket(self):
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        sockets.append(self.wfile)
        tell("status", {"status": {"exec_info": {"queue_remaining": 0}}, "sid": "one"})
        # Until the client goes; what it says means nothing here.
        while self.rfile.read(1):
            pass
        self.close_connection = True


load_packs()
ThreadingHTTPServer(("127.0.0.1", int(args.port)), Handler).serve_forever()

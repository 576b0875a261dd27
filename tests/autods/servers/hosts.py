"""Google Drive, Kaggle and the Hugging Face Hub, as far as downloads know them.

What they answer follows their public behaviour: Drive's pages come with status 200, Kaggle
and the Hub redirect to a storage host whose signed address is another one each time.
"""

import hashlib
import json
from base64 import b64decode, b64encode
from urllib.parse import quote, unquote

from servers.web import Handler, Server, Storage

WARNING = """
<p class="uc-warning-caption">Google Drive can't scan this file for viruses.</p>
<form id="search" action="/search" method="get"><input type="hidden" name="q" value="no"></form>
<form id="download-form" action="{action}" method="get">
<input type="submit" id="uc-download-link" value="Download anyway">
<input type="hidden" name="id" value="{id}"><input type="hidden" name="export" value="download">
<input type="hidden" name="confirm" value="t"><input type="hidden" name="uuid" value="{uuid}">
</form>"""
QUOTA = """
<p class="uc-error-caption">Sorry, you can&#39;t view or download this file at this time.</p>
<p class="uc-error-subcaption">Too many users have viewed or downloaded this file recently.
Please try accessing the file again later.</p>"""


class Drive(Server):
    """Google Drive; ``states`` says of an id what is special: large, quota, private, denied.

    ``keys`` holds the resource keys of ids that are not given without one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.etag = None
        self.states: dict[str, str] = {}
        self.keys: dict[str, str] = {}
        self.uuids: list[str] = []
        self.asks_always = False

    def answer(self, request: Handler) -> None:
        if request.route == "/ServiceLogin":
            request.page("Sign in - Google Accounts")
            return
        identity = request.query.get("id", "")
        state = self.states.get(identity, "")
        if request.route != "/download" or identity not in self.files:
            request.page("Error 404 (Not Found)!!1", status=404)
        elif request.query.get("resourcekey") != self.keys.get(identity):
            request.redirect(self.url("/ServiceLogin?continue=x"))
        elif state == "quota":
            request.page("Google Drive - Quota exceeded", QUOTA)
        elif state == "private":
            request.redirect(self.url("/ServiceLogin?continue=x"))
        elif state == "denied":
            request.page("Google Drive - Access denied", "You need access", status=403)
        elif state == "folder":
            request.page("Google Drive - Something else")
        elif state == "large" and (self.asks_always or request.query.get("uuid") not in self.uuids):
            self.uuids.append(f"u{len(self.uuids)}")
            form = WARNING.format(action=self.url("/download"), id=identity, uuid=self.uuids[-1])
            request.page("Google Drive - Virus scan warning", form)
        else:
            request.content(self.files[identity], "application/octet-stream")


class Kaggle(Server):
    """Kaggle's API over ``datasets`` (``owner/slug``) and ``competitions`` (slug)."""

    def __init__(self, storage: Storage) -> None:
        super().__init__()
        self.storage = storage
        self.accepted = {"Bearer KGAT_secret", "Basic " + b64encode(b"ann:secret").decode()}
        self.datasets: dict[str, dict[str, bytes]] = {}  # name to version to archive
        self.closed: set[str] = set()  # names that only members see
        self.unaccepted: set[str] = set()  # names whose rules or terms are not accepted
        self.competitions: dict[str, bytes] = {}

    def answer(self, request: Handler) -> None:
        given = request.headers.get("Authorization")
        if given is not None and given not in self.accepted:
            # an unfriendly server, which repeats what it was given
            request.reply(401, {}, f'{{"code":401,"message":"{given}"}}'.encode())
            return
        kind, _, name = request.route.removeprefix("/api/v1/").partition("/download/")
        if request.route.startswith("/api/v1/competitions/data/download-all/"):
            name = request.route.rpartition("/")[2]
            body = self.competitions.get(name)
        else:
            versions = self.datasets.get(name, {}) if kind == "datasets" else {}
            latest = max(versions, key=int, default="")
            body = versions.get(request.query.get("datasetVersionNumber", latest))
        if given is None and (name in self.closed or name in self.competitions):
            request.reply(401, {}, b'{"code":401,"message":"Unauthenticated"}')
        elif name in self.unaccepted:
            message = b'{"code":403,"message":"You must accept this competition\'s rules"}'
            request.reply(403, {"Content-Type": "application/json"}, message)
        elif body is None:
            request.reply(404, {}, b'{"code":404,"message":"Not found"}')
        else:
            self.storage.files[f"/{name}.zip"] = body
            request.redirect(self.storage.sign(f"/{name}.zip"))


class Hub(Server):
    """The Hub over ``repositories``: name to revision to path to content."""

    def __init__(self, storage: Storage) -> None:
        super().__init__()
        self.storage = storage
        self.repositories: dict[str, dict[str, dict[str, bytes]]] = {}
        self.gated: dict[str, set[str]] = {}  # repository to the tokens that have access
        self.private: set[str] = set()
        self.disabled: set[str] = set()
        self.plain: set[str] = set()  # paths that are not in large file storage
        self.tokens = {"Bearer hf_secret", "Bearer hf_other"}

    def answer(self, request: Handler) -> None:
        given = request.headers.get("Authorization")
        listing = request.route.startswith("/api/")
        route = unquote(request.route.removeprefix("/api")).removeprefix("/datasets/")
        parts = [*route.split("/", 4), "", "main", ""]
        name, revision, path = "/".join(parts[:2]), parts[3], parts[4]
        if listing:
            revision = route.partition("/revision/")[2] or "main"
        files = self.repositories.get(name, {}).get(revision)
        if given is not None and given not in self.tokens:
            self._refuse(request, 401, "", "Invalid credentials in Authorization header")
        elif name not in self.repositories or (name in self.private and given is None):
            # strangers are not told which of the two it is
            self._refuse(request, 401 if given is None else 404, "RepoNotFound", "Not found")
        elif name in self.disabled:
            self._refuse(request, 403, "", "Access to this resource is disabled.")
        elif name in self.gated and given not in self.gated[name]:
            words = "Access to the dataset is restricted."
            self._refuse(request, 401 if given is None else 403, "GatedRepo", words)
        elif files is None:
            self._refuse(request, 404, "RevisionNotFound", "Invalid rev id")
        elif listing:
            request.reply(200, {"Content-Type": "application/json"}, self._described(name, files))
        elif path not in files:
            self._refuse(request, 404, "EntryNotFound", "Entry not found")
        elif path in self.plain:
            request.content(files[path])
        else:
            place = quote(f"/{name}/{path}")
            self.storage.files[place] = files[path]
            request.redirect(self.storage.sign(place))

    def _described(self, name: str, files: dict[str, bytes]) -> bytes:
        """Return what the Hub's API says of a dataset at a revision, with its files."""
        siblings = []
        for path, content in files.items():
            sibling: dict[str, object] = {
                "rfilename": path,
                "size": len(content),
                "blobId": "0" * 40,
            }
            if path not in self.plain:
                sha256 = hashlib.sha256(content).hexdigest()
                sibling["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 130}
            siblings.append(sibling)
        sha = next(k for k, v in self.repositories[name].items() if v is files and len(k) == 40)
        card = {"license": "cc0-1.0"}
        told = {"id": name, "sha": sha, "siblings": siblings, "cardData": card}
        return json.dumps(told).encode()

    def _refuse(self, request: Handler, status: int, code: str, words: str) -> None:
        headers = {"X-Error-Message": words, "Content-Type": "text/plain"}
        request.reply(status, {**headers, **({"X-Error-Code": code} if code else {})}, b"no")


class Uploads(Handler):
    """Answers what uploads ask, too."""

    def _asked(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        self.server.accept(self, body)

    do_POST = do_PUT = _asked  # noqa: N815  (names that the library looks for)


class WritableHub(Hub):
    """The Hub with uploads by its LFS protocol; ``sent`` counts objects that were uploaded."""

    def __init__(self, storage: Storage) -> None:
        super().__init__(storage)
        self.RequestHandlerClass = Uploads
        self.objects: dict[str, bytes] = {}
        self.uploads = 0
        self.broken = 0  # uploads that are still to fail
        self.writers = {"Bearer hf_secret"}

    def accept(self, request: Handler, body: bytes) -> None:
        """Answer one POST or PUT."""
        parts = unquote(request.route).strip("/").split("/")
        name = "/".join(parts[2:4])
        self.log.append((request.path, None, None))
        if parts[0] == "objects":
            self.uploads += 1
            if self.broken:
                self.broken -= 1
                request.reply(400)
                return
            self.objects[parts[1]] = body
            request.reply(200)
        elif request.headers.get("Authorization") not in self.writers:
            self._refuse(request, 403, "", "no right to write")
        elif parts[1:] == ["validate-yaml"]:
            self._tell(request, {"warnings": [], "errors": []})
        elif parts[1:] == ["repos", "create"]:
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            status = 409 if name in self.repositories else 200
            files = self.repositories.setdefault(name, {"main": {}}).setdefault("main", {})
            self.repositories[name]["0" * 40] = files
            self._tell(request, {"url": self.url(f"/datasets/{name}")}, status)
        elif "preupload" in parts:
            files = json.loads(body)["files"]
            modes = {f["path"]: "lfs" if f["path"].endswith(".h5") else "regular" for f in files}
            told = [
                {"path": path, "uploadMode": mode, "shouldIgnore": False}
                for path, mode in modes.items()
            ]
            self._tell(request, {"files": told})
        elif parts[-1] == "batch":
            told = []
            for one in json.loads(body)["objects"]:
                action = {"upload": {"href": self.url(f"/objects/{one['oid']}")}}
                here = one["oid"] in self.objects
                told.append({**one, **({} if here else {"actions": action})})
            self._tell(request, {"transfer": "basic", "objects": told})
        elif "commit" in parts:
            self._commit(self.repositories[name]["main"], body)
            told = {"commitUrl": self.url(f"/datasets/{name}/commit/{'0' * 40}")}
            self._tell(request, {**told, "commitOid": "0" * 40})
        else:
            request.reply(404)

    def _commit(self, files: dict[str, bytes], body: bytes) -> None:
        for line in body.splitlines():
            operation = json.loads(line)
            value = operation["value"]
            if operation["key"] == "file":
                files[value["path"]] = b64decode(value["content"])
            elif operation["key"] == "lfsFile":
                files[value["path"]] = self.objects[value["oid"]]

    def _tell(self, request: Handler, value: object, status: int = 200) -> None:
        body = json.dumps(value).encode()
        request.reply(status, {"Content-Type": "application/json"}, body)

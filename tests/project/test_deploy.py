"""deploy/: configs parsed by the official protobufs, manifests that agree with them and with each other."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from privzoo import list_models
from privzoo.serving import add_flags

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "docker-compose.yaml").read_text())
KUBERNETES = {d["kind"]: d for d in yaml.safe_load_all((DEPLOY / "kubernetes" / "serving.yaml").read_text())}
KSERVE = yaml.safe_load((DEPLOY / "kserve" / "inference_service.yaml").read_text())
POD = KUBERNETES["Deployment"]["spec"]["template"]["spec"]
SERVING = POD["containers"][0]
# Flags of TF Serving that the embedded server has no use for.
THEIRS = {"grpc_channel_arguments"}


@pytest.fixture(scope="module")
def configs():
    pytest.importorskip("tensorflow_serving")
    from privzoo.serving.models.config import read_config

    return read_config(DEPLOY / "config" / "models.config")


def test_the_models_are_the_zoos(configs):
    assert {config.name for config in configs} <= set(list_models())
    for config in configs:
        assert str(config.base_path) == f"/models/{config.name}"


def test_kubernetes_and_docker_have_the_same_configs():
    for file in (DEPLOY / "kubernetes").glob("*.config"):
        assert file.read_text() == (DEPLOY / "config" / file.name).read_text()
    listed = yaml.safe_load((DEPLOY / "kubernetes" / "kustomization.yaml").read_text())["configMapGenerator"][0][
        "files"
    ]
    assert set(listed) == {file.name for file in (DEPLOY / "kubernetes").glob("*.config")}


def test_parameters_are_read():
    from privzoo.serving.models.batching import read_parameters
    from privzoo.serving.wire import textproto

    assert read_parameters(DEPLOY / "config" / "batching.config").max_batch_size == 64
    monitoring = textproto.read("MonitoringConfig", DEPLOY / "config" / "monitoring.config", "x")
    path = KUBERNETES["Deployment"]["spec"]["template"]["metadata"]["annotations"]["prometheus.io/path"]
    assert monitoring.prometheus_config.enable and monitoring.prometheus_config.path == path
    example = textproto.read("SSLConfig", DEPLOY / "config" / "ssl.config.example", "ssl_config_file")
    assert example.client_verify and example.server_key.startswith("-----BEGIN")


@pytest.mark.parametrize(
    "arguments", [COMPOSE["services"]["serving"]["command"], SERVING["args"]], ids=["docker", "k8s"]
)
def test_flags_are_those_of_the_embedded_server_too(arguments):
    parser = argparse.ArgumentParser()
    add_flags(parser)
    ours = [a for a in arguments if a.partition("=")[0].removeprefix("--") not in THEIRS]
    flags = vars(parser.parse_args(ours))
    assert (flags["port"], flags["rest_api_port"], flags["enable_batching"]) == (8500, 8501, True)
    for name in ("model_config_file", "batching_parameters_file", "monitoring_config_file"):
        assert Path(flags[name]).parent == Path("/config") and (DEPLOY / "config" / Path(flags[name]).name).exists()


def test_docker_mounts_what_the_configs_name(configs):
    serving = COMPOSE["services"]["serving"]
    assert "./served:/models:ro" in serving["volumes"] and "./config:/config:ro" in serving["volumes"]
    assert all(port.startswith("127.0.0.1:") for port in serving["ports"])


def test_kubernetes_fits_together(configs):
    names = {config.name for config in configs}
    mounts = {mount["name"]: mount["mountPath"] for mount in SERVING["volumeMounts"]}
    assert set(mounts) == {volume["name"] for volume in POD["volumes"]}
    assert {"/models", "/config", "/ssl"} <= set(mounts.values())
    for probe in ("startupProbe", "readinessProbe"):
        assert SERVING[probe]["httpGet"]["path"].removeprefix("/v1/models/") in names
    ports = {port["name"]: port["containerPort"] for port in SERVING["ports"]}
    assert ports == {"grpc": 8500, "rest": 8501}
    label = KUBERNETES["Deployment"]["spec"]["template"]["metadata"]["labels"]
    selectors = [
        KUBERNETES["Deployment"]["spec"]["selector"]["matchLabels"],
        KUBERNETES["Service"]["spec"]["selector"],
        KUBERNETES["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        KUBERNETES["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ]
    assert all(selector == label for selector in selectors)
    assert KUBERNETES["Ingress"]["spec"]["tls"]
    grace = POD["terminationGracePeriodSeconds"]
    assert grace > int(SERVING["lifecycle"]["preStop"]["exec"]["command"][1]) + 30
    assert POD["volumes"][2]["secret"]["defaultMode"] == 0o400


def test_kserve_names_a_model(configs):
    model = KSERVE["spec"]["predictor"]["model"]
    name = model["storageUri"].rpartition("/")[2]
    assert name in {config.name for config in configs} and f"--model_name={name}" in model["args"]
    assert KSERVE["metadata"]["name"] == name.replace("_", "-")
    assert model["runtimeVersion"] in COMPOSE["services"]["serving"]["image"]
    assert SERVING["image"] == COMPOSE["services"]["serving"]["image"]


def test_messages_fit_a_batch_of_64_conv5_features():
    sizes = re.findall(r"max_receive_message_length=(\d+)", "".join(str(d) for d in (COMPOSE, KUBERNETES, KSERVE)))
    assert len(sizes) == 3
    for size in sizes:
        assert int(size) > 64 * 14 * 14 * 512 * 4


def test_ssl_config_is_written_from_pem_files(tmp_path):
    trustme = pytest.importorskip("trustme")
    from privzoo.serving.front.tls import read_tls

    authority = trustme.CA()
    certificate = authority.issue_cert("privzoo.example.org")
    certificate.private_key_pem.write_to_path(tmp_path / "key")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert")
    authority.cert_pem.write_to_path(tmp_path / "ca")
    command = [sys.executable, DEPLOY / "ssl_config.py", "--key", tmp_path / "key", "--cert", tmp_path / "cert"]
    for more, verify in (([], False), (["--ca", tmp_path / "ca"], True)):
        done = subprocess.run([*command, *more], capture_output=True, text=True, check=True)
        (tmp_path / "ssl").write_text(done.stdout)
        tls = read_tls(tmp_path / "ssl")
        assert tls.verify is verify and tls.key == certificate.private_key_pem.bytes()
    command[3] = tmp_path / "none"
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "cannot be read" in done.stderr and "Traceback" not in done.stderr


def test_names_and_signatures_are_what_tf_serving_takes():
    """An exported tail: a folder that is a number, both signatures, warm-up records that the official protos read."""
    pytest.importorskip("tensorflow_serving")
    from export_fakes import NAME, served

    from privzoo.serving import load_versions
    from privzoo.serving.models import warmup

    (version,) = (served() / NAME).iterdir()
    assert re.fullmatch(r"\d+", version.name)
    (servable,) = load_versions(NAME, served() / NAME)
    assert {"serving_default", servable.tail.signature} <= set(servable.model.signatures)
    requests = [log.predict_log.request for log in warmup.read_warmup(version)]
    assert [r.model_spec.signature_name for r in requests] == ["serving_default", servable.tail.signature]
    assert {r.model_spec.name for r in requests} == {NAME}
    assert warmup.warm(servable) == 2
    servable.model.close()

"""Which releases of Flower this package was written against, and what of Flower it touches.

The Runtime API, which the client process speaks, is not Flower's public interface: a test compares every name below
with the installed release (`tests/secure_fcl/engines/flower/test_contract.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata

from secure_fcl.errors import CarrierLost

RELEASES = ((1, 41), (1, 43))
"""The first minor release that will do, and the first that will not."""
INSTALL = "pip install 'flwr[simulation]>=1.41,<1.43'"

TOUCHED: Mapping[str, str] = {
    "flwr.app.Array.__init__": "(self, *args, dtype, shape, stype, data, ndarray, torch_tensor)",
    "flwr.app.ArrayRecord.__init__": "(self, *args, numpy_ndarrays, torch_state_dict, array_dict, keep_input)",
    "flwr.app.ConfigRecord.__init__": "(self, config_dict, keep_input)",
    "flwr.app.RecordDict.__init__": "(self, records, *, parameters_records, metrics_records, configs_records)",
    "flwr.app.RecordDict.array_records": "property",
    "flwr.app.RecordDict.config_records": "property",
    "flwr.app.Message.__init__": "(self, *args, dst_node_id, message_type, content, error, ttl, group_id, dst_task_id, "
    "reply_to, metadata)",
    "flwr.app.Message.has_error": "(self)",
    "flwr.clientapp.ClientApp.query": "(self, action, *, mods)",
    "flwr.serverapp.ServerApp.main": "(self)",
    "flwr.serverapp.Grid.get_node_ids": "(self)",
    "flwr.serverapp.Grid.push_messages": "(self, messages)",
    "flwr.serverapp.Grid.pull_messages": "(self, message_ids)",
    "flwr.supercore.runtime.RuntimeHttpClient.from_server_address": "(server_address, insecure, root_certificates, "
    "interceptors, *, retry_invoker)",
    "flwr.supercore.runtime.RuntimeHttpClient.AcquireTask": "(self, request)",
    "flwr.supercore.runtime.RuntimeHttpClient.close": "(self)",
    "flwr.supercore.interceptors.RuntimeTokenHttpInterceptor.__init__": "(self, token)",
    "flwr.supercore.interceptors.RuntimeVersionHttpInterceptor.__init__": "(self, component_name)",
    "flwr.supercore.interceptors.SuperExecAuthHttpInterceptor.__init__": "(self, *, master_secret, protected_methods)",
    "flwr.supercore.heartbeat.HeartbeatSender.__init__": "(self, heartbeat_fn)",
    "flwr.supercore.heartbeat.HeartbeatSender.start": "(self)",
    "flwr.supercore.heartbeat.HeartbeatSender.stop": "(self)",
    "flwr.supercore.heartbeat.make_task_heartbeat_fn_http": "(client)",
    "flwr.supernode.runtime.run_clientapp.pull_task_input": "(client)",
    "flwr.supernode.runtime.run_clientapp.push_message": "(client, message, context)",
    "flwr.supernode.runtime.run_clientapp.push_task_output": "(client, context, sub_status, details)",
}
"""Every function and property of Flower that is called, with the names of its parameters."""

OPTIONS: Mapping[str, tuple[str, ...]] = {
    "flower-superlink": (
        "--isolation", "--disable-runtime-dependency-installation", "--simulation", "--insecure", "--host", "--port",
        "--ssl-certfile", "--ssl-keyfile", "--ssl-ca-certfile", "--enable-supernode-auth",
    ),
    "flower-supernode": (
        "--superlink", "--root-certificates", "--auth-supernode-private-key", "--isolation", "--host", "--port",
        "--superexec-auth-secret-file", "--node-config",
    ),
    "flwr run": ("--run-config", "--federation-config", "--format"),
    "flwr ls": ("--run-id", "--format"),
    "flwr stop": ("--format",),
    "flwr supernode register": ("--format",),
}  # fmt: skip
"""Every option of Flower's commands that is given."""


def require_release() -> None:
    """Raise CarrierLost unless the installed Flower is a release that this package was written against."""
    try:
        found = metadata.version("flwr")
    except metadata.PackageNotFoundError:
        raise CarrierLost(f"engine = 'flower' needs Flower, which is not installed; {INSTALL}") from None
    first, beyond = RELEASES
    numbers = tuple(int(part) if part.isdigit() else -1 for part in found.split(".")[:2])
    if not first <= numbers < beyond:
        raise CarrierLost(f"flwr {found} is installed, and this was written against 1.41 and 1.42; {INSTALL}")

"""What can be wrong: a stable code for each, what it means, how it is known, and what to do about it."""

from enum import StrEnum
from typing import Final, NamedTuple

import msgspec


class Code(StrEnum):
    """Stable, for programs; `TABLE` explains each."""

    SERVICE_AWAY = "service-away"
    SERVICE_NOT_READY = "service-not-ready"
    SIDECAR_AWAY = "sidecar-away"
    SIDECAR_NOT_READY = "sidecar-not-ready"
    SCHEDULER_AWAY = "scheduler-away"
    API_TOKEN_REFUSED = "api-token-refused"  # noqa: S105 - a code
    SUBSCRIPTION_MISSING = "subscription-missing"
    JOB_NOT_REGISTERED = "job-not-registered"

    COMPONENT_MISSING = "component-missing"
    COMPONENT_WRONG = "component-wrong"
    COMPONENT_PARKED = "component-parked"
    COMPONENT_FAILED = "component-failed"
    COMPONENT_NOT_LOADED = "component-not-loaded"
    CONSUMER_GROUP = "consumer-group"
    SECRET_MISSING = "secret-missing"  # noqa: S105 - a code
    SECRET_KEY_MISSING = "secret-key-missing"  # noqa: S105 - a code
    SECRET_KEY_EMPTY = "secret-key-empty"  # noqa: S105 - a code
    SECRET_BLANKS = "secret-blanks"  # noqa: S105 - a code

    BROKER_ADDRESS = "broker-address"
    BROKER_REFUSED = "broker-refused"
    BROKER_TIMEOUT = "broker-timeout"
    BROKER_TLS = "broker-tls"
    BROKER_MECHANISM = "broker-mechanism"
    BROKER_CREDENTIALS = "broker-credentials"
    BROKER_RIGHTS = "broker-rights"
    BROKER_SETTING = "broker-setting"
    BROKER_FAILING = "broker-failing"
    TOPIC_MISSING = "topic-missing"

    OUTBOX_WAITING = "outbox-waiting"
    CONSUMER_LAG = "consumer-lag"
    DELIVERIES_REFUSED = "deliveries-refused"
    EVENT_UNREADABLE = "event-unreadable"
    DEAD_LETTERS = "dead-letters"
    MAIL_REPEATED = "mail-repeated"
    TWO_SYSTEMS = "two-systems"

    DATABASE_AWAY = "database-away"
    DATABASE_LOGIN = "database-login"
    DATABASE_NOT_MIGRATED = "database-not-migrated"
    CLOCK_SKEW = "clock-skew"
    MAIL_SERVER_AWAY = "mail-server-away"
    MAIL_SERVER_TLS = "mail-server-tls"
    MAIL_SERVER_LOGIN = "mail-server-login"

    DAPR_NOT_INSTALLED = "dapr-not-installed"
    INJECTOR_DOWN = "injector-down"
    INJECTOR_UNREACHABLE = "injector-unreachable"
    WEBHOOK_EXCLUDES = "webhook-excludes"
    ANNOTATIONS_ABSENT = "annotations-absent"
    ANNOTATIONS_MISPLACED = "annotations-misplaced"
    ANNOTATION_NOT_TRUE = "annotation-not-true"
    APP_ID_WRONG = "app-id-wrong"
    APP_PORT_WRONG = "app-port-wrong"
    POD_OUTDATED = "pod-outdated"
    POD_WITHOUT_SIDECAR = "pod-without-sidecar"
    DEPLOYMENT_MISSING = "deployment-missing"
    DEPLOYMENT_STOPPED = "deployment-stopped"
    POD_NOT_SCHEDULED = "pod-not-scheduled"
    IMAGE_NOT_PULLED = "image-not-pulled"
    CONTAINER_CRASHING = "container-crashing"
    POD_NOT_READY = "pod-not-ready"


class Explanation(NamedTuple):
    """One line of the table of codes."""

    means: str
    known_by: str
    to_do: str


class Finding(msgspec.Struct, frozen=True, order=True):
    """One thing that is wrong. `app` is the service it is about, empty when it is about more than one."""

    code: Code
    subject: str
    what: str
    evidence: tuple[str, ...]
    to_do: str
    app: str = ""


class Report(msgspec.Struct, frozen=True):
    """What was found, what was looked at, and what could not be, with the reason; both by theme."""

    where: str
    findings: tuple[Finding, ...]
    looked_at: dict[str, str]
    not_looked_at: dict[str, str]

    @property
    def healthy(self) -> bool:
        return not self.findings


def found(code: Code, subject: str, what: str, *evidence: str, to_do: str = "", app: str = "") -> Finding:
    """A finding; what to do is the table's unless something better is known."""
    return Finding(code, subject, what, tuple(one for one in evidence if one), to_do or TABLE[code].to_do, app)


LOGS: Final = "its log (`todo up` shows it; `kubectl logs -n todo-phasev deploy/<app> -c <container>`)"

TABLE: Final[dict[Code, Explanation]] = {
    Code.SERVICE_AWAY: Explanation(
        "a service does not answer", "its /readyz: refused, or no answer in time", f"look into {LOGS}"
    ),
    Code.SERVICE_NOT_READY: Explanation(
        "a service runs, and something of its own that it needs does not",
        "its /readyz answers 503 and names what failed",
        f"mend what it names; {LOGS} has more",
    ),
    Code.SIDECAR_AWAY: Explanation(
        "a sidecar does not answer: its service can neither publish nor get events",
        "its API: refused, or no answer in time",
        "look into the log of daprd (on one host `todo up` shows it; else `kubectl logs ... -c daprd`)",
    ),
    Code.SIDECAR_NOT_READY: Explanation(
        "a sidecar runs and is not ready", "its /v1.0/healthz names what it waits for", "mend what it names"
    ),
    Code.SCHEDULER_AWAY: Explanation(
        "a sidecar has no connection to Dapr's Scheduler: no job ticks, services look by themselves, later",
        "the sidecar's metadata lists no connected address",
        "on Kubernetes look at the pods dapr-scheduler-server-* in dapr-system; on one host at the scheduler's log",
    ),
    Code.API_TOKEN_REFUSED: Explanation(
        "a sidecar does not take the API token that its service is to show",
        "its metadata, asked with the token: 401",
        "services and sidecars must take the token from the same secret (dapr-api-token); restart whoever started"
        " before it was changed",
    ),
    Code.SUBSCRIPTION_MISSING: Explanation(
        "an app does not get a topic that it has to get",
        "the sidecar's metadata against the table of topics",
        "the sidecar asks GET /dapr/subscribe once its app is up: see that the app answers there on the port that the"
        " sidecar knows, then restart the sidecar",
    ),
    Code.JOB_NOT_REGISTERED: Explanation(
        "a job of a service is not with the Scheduler, and never ticks",
        "GET /v1.0/jobs/<name> through the service's own sidecar",
        "services register their jobs again every minute: look for `job not registered` in the service's log",
    ),
    Code.COMPONENT_MISSING: Explanation(
        "a component that services use by its name is not there",
        "the resources that the sidecars read, against the table of names",
        "apply the environment's component file (kubernetes/overlays, or kubernetes/dapr-components)",
    ),
    Code.COMPONENT_WRONG: Explanation(
        "a resource says something that Dapr ignores, misreads or does not load",
        "the checks of `todo components check`, on what is applied",
        "correct the file, see `todo components check FILE`, and apply it again",
    ),
    Code.COMPONENT_PARKED: Explanation(
        "a sidecar waits for the component's secret store for ever",
        "the sidecar has not loaded the component, whose auth.secretStore names no store that it has",
        "write auth.secretStore: kubernetes, or leave it out on Kubernetes",
    ),
    Code.COMPONENT_FAILED: Explanation(
        "a component does not start",
        "the sidecar's own log line about it",
        "mend what the line says; a sidecar whose component fails ends, and starts again",
    ),
    Code.COMPONENT_NOT_LOADED: Explanation(
        "a component is there, and a sidecar that should have it has not loaded it",
        "the sidecar's metadata against the resources whose scopes name the app",
        "look for the component's name in the sidecar's log; a restart of the sidecar loads it or says why not",
    ),
    Code.CONSUMER_GROUP: Explanation(
        "consumer groups are not one per app: apps take events from one another, or each replica gets every event",
        "consumerGroup or consumerID of the pub/sub component",
        "leave both out: the group is then the app id",
    ),
    Code.SECRET_MISSING: Explanation(
        "a secret that something refers to is not there",
        "secretKeyRef of components, env, volumes and annotations of Deployments, against the secrets that exist",
        "create it: `todo secrets generate` for a local environment, kubectl create secret with your broker's values",
    ),
    Code.SECRET_KEY_MISSING: Explanation(
        "a secret is there and lacks a key that something refers to",
        "the same references against the keys of the secret; no value is shown",
        "add the key to the secret",
    ),
    Code.SECRET_KEY_EMPTY: Explanation(
        "a key of a secret is there and empty", "the length of its value", "put the value there"
    ),
    Code.SECRET_BLANKS: Explanation(
        "a name, password or address in a secret begins or ends with white space, which becomes part of it",
        "the first and last character of its value",
        "write it again without: `printf %s VALUE`, not `echo VALUE`, into the file that kubectl reads",
    ),
    Code.BROKER_ADDRESS: Explanation(
        "the broker's host name does not exist",
        "looked up from here, or the sidecar's log (no such host)",
        "correct brokers (redisHost) in the component, or the secret it comes from",
    ),
    Code.BROKER_REFUSED: Explanation(
        "nothing listens at the broker's address: it is down, or the port is wrong",
        "a connection from here, or the sidecar's log (connection refused)",
        "start the broker, or correct the port in brokers (redisHost)",
    ),
    Code.BROKER_TIMEOUT: Explanation(
        "nobody answers at the broker's address: a firewall, a security group or a NetworkPolicy swallows what is sent",
        "a connection from here, or the sidecar's log (i/o timeout)",
        "let the namespace's pods reach the broker's port",
    ),
    Code.BROKER_TLS: Explanation(
        "TLS with the broker fails: its authority is not trusted, or one side encrypts and the other does not",
        "a login from here, or the sidecar's log (x509, tls)",
        "give caCert (KAFKA_CA_CERT) for a private authority; set disableTls (enableTLS) as the listener is",
    ),
    Code.BROKER_MECHANISM: Explanation(
        "the broker does not know the SASL mechanism",
        "a login from here, or the sidecar's log; saslMechanism that Dapr takes for PLAIN",
        "saslMechanism is SHA-256 or SHA-512, exactly so: SHA-512 on MSK, SHA-256 on Redpanda Cloud",
    ),
    Code.BROKER_CREDENTIALS: Explanation(
        "the broker refuses user or password",
        "a login from here, or the sidecar's log (SASL Authentication failed, WRONGPASS)",
        "correct the secret; `todo rotate` changes broker and secret together",
    ),
    Code.BROKER_RIGHTS: Explanation(
        "the broker's user may not do what this system needs",
        "topics and groups, asked with the component's login",
        "give the user read, write and describe on the topics, and read on the groups",
    ),
    Code.BROKER_SETTING: Explanation(
        "the pub/sub component's settings cannot work", "read as Dapr reads them", "correct the setting it names"
    ),
    Code.BROKER_FAILING: Explanation(
        "the broker answers and cannot do what is asked", "its own answer", "look into the broker"
    ),
    Code.TOPIC_MISSING: Explanation(
        "a topic does not exist, and the broker makes none by itself",
        "the broker's list against the table of topics",
        "`todo topics create`",
    ),
    Code.OUTBOX_WAITING: Explanation(
        "events are committed and do not get to the broker",
        "age and number of outbox rows, looked at twice",
        "see why the relay cannot publish: its service's log, the sidecar, the broker; nothing is lost meanwhile",
    ),
    Code.CONSUMER_LAG: Explanation(
        "an app does not keep up with a topic, or takes nothing from it",
        "what its group has left on the broker, looked at twice",
        "see that the app is ready and not refusing deliveries; give it replicas when it is merely slow",
    ),
    Code.DELIVERIES_REFUSED: Explanation(
        "an app answers deliveries with errors: they are tried again for half an hour, then become dead letters",
        "the sidecar's metric of deliveries by process_status, looked at twice",
        "look for `delivery put off` in the app's log: it names what the app lacks",
    ),
    Code.EVENT_UNREADABLE: Explanation(
        "somebody publishes what is no event of this system, or one that this version cannot read",
        "open dead letters whose bytes do not decode, with the reason",
        "mend the publisher: a CloudEvent of a type of the topic, `data` as docs/events.asyncapi.yaml has it; then"
        " `todo dead-letters discard`, or `replay` once a version runs that reads it",
    ),
    Code.DEAD_LETTERS: Explanation(
        "events were given up and wait for somebody to decide",
        "open dead letters, with the error each ended with",
        "`todo dead-letters list`, mend the cause, then `todo dead-letters replay ID` (or `discard`)",
    ),
    Code.MAIL_REPEATED: Explanation(
        "a reminder was mailed more than once within the last week",
        "delivery history: more than one attempt of one reminder reached the mail server; or the mailbox's Message-IDs",
        "`todo why TASK` shows the attempts: a second one follows when the first one's answer was lost or late",
    ),
    Code.TWO_SYSTEMS: Explanation(
        "another system works on the same database: both send reminders, and neither sees the other's mails",
        "more relays hold or ask for the database's lock than services run here",
        "stop the other one, or give it a database of its own",
    ),
    Code.DATABASE_AWAY: Explanation(
        "the database does not answer",
        "a connection from here; else what the services' /readyz say",
        "start it, or correct its address (DATABASE_URL, postgres-secrets)",
    ),
    Code.DATABASE_LOGIN: Explanation(
        "the database refuses the login",
        "a connection with the same login",
        "correct user, password or database's name (postgres-secrets); `todo rotate` changes both sides together",
    ),
    Code.DATABASE_NOT_MIGRATED: Explanation(
        "a schema is older than the code that uses it",
        "its Alembic revision against the newest that this `todo` has",
        "run `python -m todo.backend migrate` (todo.notification), or the init container that does it",
    ),
    Code.CLOCK_SKEW: Explanation(
        "clocks differ by more than two seconds: reminders are sent early or late, leases end at the wrong time",
        "the database's clock, the Date of each service's answers and this machine's clock",
        "let a time service (chrony, systemd-timesyncd) set the clock that is off",
    ),
    Code.MAIL_SERVER_AWAY: Explanation(
        "the mail server cannot be reached, or turns us away",
        "a connection from email-delivery; nothing is sent",
        "correct host and port in SMTP_URL, or let the pods reach them",
    ),
    Code.MAIL_SERVER_TLS: Explanation(
        "the mail server does not encrypt as SMTP_URL says, or its certificate is not trusted",
        "a connection from email-delivery; nothing is sent",
        "smtps:// is TLS from the first byte (465), smtp+starttls:// is STARTTLS (587), smtp:// neither; SSL_CERT_FILE"
        " names further authorities",
    ),
    Code.MAIL_SERVER_LOGIN: Explanation(
        "the mail server does not accept the login",
        "a login from email-delivery; nothing is sent",
        "correct user and password in SMTP_URL, percent-encoded",
    ),
    Code.DAPR_NOT_INSTALLED: Explanation(
        "the cluster has no Dapr",
        "neither its resource definitions nor its webhook are there",
        "install it: `helm install dapr dapr/dapr -n dapr-system --create-namespace`, then restart the Deployments",
    ),
    Code.INJECTOR_DOWN: Explanation(
        "Dapr's injector has no ready pod: with the webhook's failurePolicy Ignore (Dapr's default) pods start without"
        " their sidecar and nothing says so, with Fail none starts",
        "the Deployment dapr-sidecar-injector and its webhook",
        "`kubectl get pods -n dapr-system`; once it is up, restart the Deployments whose pods are 1/1",
    ),
    Code.INJECTOR_UNREACHABLE: Explanation(
        "the injector runs, and the API server does not reach it, or not within the webhook's time limit",
        "a pod made while it was ready, with the right annotations, has no sidecar (failurePolicy Ignore), or is not"
        " made for want of the webhook (Fail)",
        "let the API server reach the Service dapr-sidecar-injector (443 to 4000): routes, firewall rules of the"
        " control plane, NetworkPolicies in dapr-system; if it was only overloaded, restart the Deployment",
    ),
    Code.WEBHOOK_EXCLUDES: Explanation(
        "Dapr's webhook leaves this namespace, or these pods, out",
        "the webhook's namespaceSelector and objectSelector against the labels of the namespace and the pods",
        "give them the label that the selector asks for, then restart the Deployments",
    ),
    Code.ANNOTATIONS_ABSENT: Explanation(
        "a Deployment's pods are not to get a sidecar",
        "no annotation dapr.io/enabled on the Deployment's pod template",
        "add dapr.io/enabled, app-id and app-port below spec.template.metadata.annotations",
    ),
    Code.ANNOTATIONS_MISPLACED: Explanation(
        "Dapr's annotations are on the Deployment, where nobody reads them",
        "metadata.annotations has them, spec.template.metadata.annotations has not",
        "move them below spec.template.metadata.annotations",
    ),
    Code.ANNOTATION_NOT_TRUE: Explanation(
        "dapr.io/enabled has a value that the injector takes for no",
        'the annotation; only "true" counts, whatever its case',
        'write dapr.io/enabled: "true"',
    ),
    Code.APP_ID_WRONG: Explanation(
        "a sidecar has an app id under which nobody knows the service",
        "the annotation dapr.io/app-id against the table of app ids",
        "write the service's app id: topics, scopes and invocation go by it",
    ),
    Code.APP_PORT_WRONG: Explanation(
        "a sidecar calls its service on a port where it does not listen",
        "the annotation dapr.io/app-port against the container's ports",
        "write the port that the container serves on",
    ),
    Code.POD_OUTDATED: Explanation(
        "a pod is older than its Deployment's annotations: they are read when a pod is made",
        "the pod has other Dapr annotations than the template",
        "`kubectl rollout restart deployment -n todo-phasev <app>`; see why the rollout did not replace it",
    ),
    Code.POD_WITHOUT_SIDECAR: Explanation(
        "a pod was made while the injector was not there",
        "right annotations, no container daprd, and the pod is older than the injector's readiness",
        "`kubectl rollout restart deployment -n todo-phasev <app>`",
    ),
    Code.DEPLOYMENT_MISSING: Explanation(
        "a service is not deployed", "no Deployment of its name", "kubectl apply -k kubernetes/overlays/<environment>"
    ),
    Code.DEPLOYMENT_STOPPED: Explanation(
        "a service is deployed with no replica",
        "the Deployment's replicas are 0",
        "`kubectl scale deployment -n todo-phasev <app> --replicas=1`",
    ),
    Code.POD_NOT_SCHEDULED: Explanation(
        "a pod has no node", "its PodScheduled condition", "give the cluster what the condition says it lacks"
    ),
    Code.IMAGE_NOT_PULLED: Explanation(
        "a container's image cannot be had",
        "the container waits with ErrImagePull, ImagePullBackOff or the like",
        "push the image, or correct its name (kustomize `images:`) or the pull secret",
    ),
    Code.CONTAINER_CRASHING: Explanation(
        "a container ends again and again",
        "its state and the last line of its log",
        "mend what the line says",
    ),
    Code.POD_NOT_READY: Explanation(
        "a pod is not ready, for a reason that nothing else here explains",
        "its container statuses",
        "`kubectl describe pod` tells its events",
    ),
}

# What a cause explains is not told again: of the same app when both are about one, else everywhere.
_BROKER: Final = frozenset(
    {
        *(Code.BROKER_ADDRESS, Code.BROKER_REFUSED, Code.BROKER_TIMEOUT, Code.BROKER_TLS, Code.BROKER_MECHANISM),
        *(Code.BROKER_CREDENTIALS, Code.BROKER_RIGHTS, Code.BROKER_SETTING, Code.BROKER_FAILING, Code.TOPIC_MISSING),
    }
)
_EVENTS: Final = frozenset({Code.OUTBOX_WAITING, Code.CONSUMER_LAG, Code.DELIVERIES_REFUSED})
_OF_SIDECAR: Final = frozenset(
    {
        *(Code.SIDECAR_AWAY, Code.SIDECAR_NOT_READY, Code.SUBSCRIPTION_MISSING, Code.JOB_NOT_REGISTERED),
        *(Code.COMPONENT_NOT_LOADED, Code.SCHEDULER_AWAY, Code.POD_NOT_READY, *_EVENTS),
    }
)
_OF_COMPONENT: Final = _OF_SIDECAR | {Code.COMPONENT_FAILED, Code.CONTAINER_CRASHING, Code.SERVICE_AWAY}
_OF_SERVICE: Final = frozenset(
    {Code.SUBSCRIPTION_MISSING, Code.JOB_NOT_REGISTERED, Code.SIDECAR_NOT_READY, Code.POD_NOT_READY, *_EVENTS}
)
_OF_POD: Final = _OF_COMPONENT | {Code.SERVICE_NOT_READY}
_OF_DATABASE: Final = _OF_COMPONENT | {Code.SERVICE_NOT_READY}
_OF_INJECTION: Final = _OF_SIDECAR | {Code.CONTAINER_CRASHING, Code.SERVICE_NOT_READY}

EXPLAINS: Final[dict[Code, frozenset[Code]]] = {
    Code.DATABASE_AWAY: _OF_DATABASE | {Code.DATABASE_NOT_MIGRATED},
    Code.DATABASE_LOGIN: _OF_DATABASE | {Code.DATABASE_AWAY, Code.DATABASE_NOT_MIGRATED},
    Code.DATABASE_NOT_MIGRATED: _OF_SERVICE | {Code.SERVICE_NOT_READY, Code.SERVICE_AWAY, Code.CONTAINER_CRASHING},
    Code.SERVICE_AWAY: _OF_SERVICE,
    Code.SERVICE_NOT_READY: _OF_SERVICE,
    Code.SIDECAR_AWAY: _OF_SIDECAR - {Code.SIDECAR_AWAY},
    Code.SCHEDULER_AWAY: frozenset({Code.JOB_NOT_REGISTERED, Code.SIDECAR_NOT_READY}),
    Code.SUBSCRIPTION_MISSING: frozenset({Code.CONSUMER_LAG}),
    Code.DELIVERIES_REFUSED: frozenset({Code.CONSUMER_LAG}),
    Code.COMPONENT_MISSING: _OF_COMPONENT,
    Code.COMPONENT_WRONG: _OF_COMPONENT | {Code.COMPONENT_PARKED, Code.CONSUMER_GROUP, *_BROKER},
    Code.COMPONENT_PARKED: _OF_COMPONENT,
    Code.COMPONENT_FAILED: _OF_COMPONENT - {Code.COMPONENT_FAILED},
    Code.COMPONENT_NOT_LOADED: _OF_SIDECAR - {Code.COMPONENT_NOT_LOADED, Code.SIDECAR_AWAY},
    Code.SECRET_MISSING: _OF_POD | {Code.DATABASE_AWAY, *_BROKER},
    Code.SECRET_KEY_MISSING: _OF_POD | {Code.DATABASE_AWAY, *_BROKER},
    Code.SECRET_KEY_EMPTY: _OF_POD | {Code.DATABASE_AWAY, Code.DATABASE_LOGIN, *_BROKER},
    Code.SECRET_BLANKS: _OF_POD | {Code.DATABASE_AWAY, Code.DATABASE_LOGIN, Code.API_TOKEN_REFUSED, *_BROKER},
    **dict.fromkeys(_BROKER, _OF_COMPONENT),
    Code.DAPR_NOT_INSTALLED: _OF_INJECTION | {Code.COMPONENT_MISSING, Code.INJECTOR_DOWN, Code.POD_WITHOUT_SIDECAR},
    Code.INJECTOR_DOWN: _OF_INJECTION | {Code.POD_WITHOUT_SIDECAR, Code.INJECTOR_UNREACHABLE},
    Code.WEBHOOK_EXCLUDES: _OF_INJECTION | {Code.POD_WITHOUT_SIDECAR, Code.INJECTOR_UNREACHABLE},
    **dict.fromkeys(
        (
            *(Code.INJECTOR_UNREACHABLE, Code.ANNOTATIONS_ABSENT, Code.ANNOTATIONS_MISPLACED),
            *(Code.ANNOTATION_NOT_TRUE, Code.POD_OUTDATED, Code.POD_WITHOUT_SIDECAR),
        ),
        _OF_INJECTION,
    ),
    **dict.fromkeys((Code.APP_ID_WRONG, Code.APP_PORT_WRONG), _OF_INJECTION | {Code.POD_OUTDATED}),
    **dict.fromkeys((Code.DEPLOYMENT_MISSING, Code.DEPLOYMENT_STOPPED), _OF_POD),
    Code.POD_NOT_SCHEDULED: _OF_POD,
    Code.IMAGE_NOT_PULLED: _OF_POD - {Code.CONTAINER_CRASHING},
    Code.CONTAINER_CRASHING: _OF_SIDECAR | {Code.SERVICE_AWAY, Code.SERVICE_NOT_READY},
}


def unexplained(findings: list[Finding]) -> list[Finding]:
    """The findings that no other one explains, each once, in the order of the table."""
    left = {one for one in findings if not any(_explains(cause, one) for cause in findings)}
    order = {code: at for at, code in enumerate(TABLE)}
    return sorted(left, key=lambda one: (order[one.code], one.subject, one.what))


def _explains(cause: Finding, effect: Finding) -> bool:
    same_app = not cause.app or not effect.app or cause.app == effect.app
    return same_app and effect.code in EXPLAINS.get(cause.code, ())

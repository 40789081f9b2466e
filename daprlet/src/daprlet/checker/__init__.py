"""Checks resource files the way Dapr does not: by name, by value, and for what events can come to."""

from daprlet.checker.catalog import Catalog, dapr, of_host
from daprlet.checker.checking import Surroundings, check, check_documents, yaml_files
from daprlet.checker.findings import Finding, Severity
from daprlet.checker.sources import Document
from daprlet.checker.sources import read as read_documents
from daprlet.checker.strict import documents, read
from daprlet.checker.words import nearest

__all__ = [
    "Catalog",
    "Document",
    "Finding",
    "Severity",
    "Surroundings",
    "check",
    "check_documents",
    "dapr",
    "documents",
    "nearest",
    "of_host",
    "read",
    "read_documents",
    "yaml_files",
]

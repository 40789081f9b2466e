"""A rule said no: which field, what is wrong with its value, and what would be right."""


class RuleError(ValueError):
    """Bad input, told so that a person can mend it. `field` is the name the API uses."""

    def __init__(self, field: str, problem: str, fix: str) -> None:
        super().__init__(f"{field}: {problem}; {fix}")
        self.field = field
        self.problem = problem
        self.fix = fix

from todo.messaging.migrations import run_environment

run_environment()

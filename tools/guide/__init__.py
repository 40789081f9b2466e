"""The guide is executed: every command in `docs/guide` runs, and what it prints is compared with what the page shows.

Before each fenced block stands an HTML comment, which no reader sees:

    <!-- run: host -->                    its commands run on one host; `rig` is a Kubernetes cluster
    <!-- run: rig within=30 exit=1 -->    and are run again until the output matches, 30 s at most; they exit with 1
    <!-- not run: why -->                 nobody can run it here, and why
    <!-- file: path -->                   it is that file, or lines of it that follow each other
    <!-- figure -->                       it is no command

The fenced block behind a command's is its output: `...` alone on a line is any lines, within a line any text; `<n>`,
`<time>` and the other patterns of `expectation` stand for what changes. A command without output is marked `silent`.
"""

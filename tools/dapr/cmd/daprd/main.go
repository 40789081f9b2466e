// Stock daprd with one component more than Dapr's "stable" flavour has: the name resolver that keeps addresses in an
// SQLite file. Dapr's default release has it too, but takes far longer to build. Without it, sidecars of one host find
// each other by multicast DNS, which needs a network and mixes up two systems that run side by side.
package main

import (
	"github.com/dapr/components-contrib/nameresolution/sqlite"
	"github.com/dapr/dapr/cmd/daprd/app"
	registry "github.com/dapr/dapr/pkg/components/nameresolution"
)

func main() {
	registry.DefaultRegistry.RegisterComponent(sqlite.NewResolver, "sqlite")
	app.Run()
}

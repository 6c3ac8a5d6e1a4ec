// Package arch_test holds the rule of who may import whom: the table of
// ARCHITECTURE.md.
package arch_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/cpucloud/cpucloud/"

// may names, for each package, the packages of ours that it imports directly.
// A package without a row fails; so does a row without a package. Packages of
// test support, whose names end in test, are free.
var may = map[string]string{
	// floor 0: words
	"internal/fault":    "",
	"internal/id":       "internal/fault",
	"internal/userdata": "internal/fault",
	"internal/hostkey":  "internal/fault",
	"internal/usage":    "internal/fault",
	"internal/money":    "internal/fault",
	"internal/capacity": "internal/fault",
	// floor 1: domain
	"internal/account": "internal/fault internal/id internal/money internal/capacity",
	"internal/vm":      "internal/fault internal/id internal/money internal/capacity internal/userdata internal/hostkey",
	"internal/market":  "internal/fault internal/id internal/money internal/capacity",
	"internal/ledger":  "internal/fault internal/id internal/money internal/capacity",
	"internal/listing": "internal/fault internal/money",
	"internal/payment": "internal/fault internal/money",
	// floor 2: machinery
	"internal/store":                    "internal/fault internal/id internal/money internal/capacity internal/account internal/vm internal/market internal/ledger internal/payment internal/userdata internal/hostkey internal/usage",
	"internal/serial":                   "internal/fault",
	"internal/serial/socket":            "internal/serial",
	"internal/hypervisor":               "internal/fault",
	"internal/hypervisor/cgroup":        "",
	"internal/hypervisor/confine":       "",
	"internal/hypervisor/confine/early": "internal/hypervisor/confine",
	"internal/hypervisor/qemu":          "internal/fault internal/hypervisor internal/hypervisor/cgroup internal/hypervisor/confine internal/hypervisor/qemu/qmp internal/serial",
	"internal/hypervisor/qemu/qmp":      "internal/fault",
	"internal/hypervisor/fake":          "internal/fault internal/hypervisor internal/serial",
	"internal/network":                  "internal/fault",
	"internal/network/netns":            "",
	"internal/network/loopback":         "internal/fault internal/network internal/network/loopback/gateway",
	"internal/network/loopback/gateway": "internal/fault internal/network",
	"internal/network/routed":           "internal/fault internal/network internal/network/netns",
	"internal/network/fake":             "internal/fault internal/network",
	"internal/image":                    "internal/fault internal/capacity internal/image/guard internal/image/qcow2 internal/image/unpack",
	"internal/image/guard":              "internal/fault",
	"internal/image/qcow2":              "internal/fault",
	"internal/image/unpack":             "internal/fault",
	"internal/image/seed":               "internal/fault internal/userdata",
	"internal/archive/s3":               "internal/fault internal/archive",
	"internal/archive":                  "internal/fault",
	"internal/wire":                     "internal/fault internal/id internal/money internal/capacity internal/vm internal/serial internal/serial/socket internal/hostkey internal/usage",
	// floor 3: the two brains
	"internal/control":         "internal/fault internal/id internal/money internal/capacity internal/account internal/vm internal/market internal/ledger internal/payment internal/store internal/serial internal/userdata internal/hostkey internal/usage internal/archive internal/archive/s3",
	"internal/agent":           "internal/fault internal/id internal/money internal/capacity internal/vm internal/hypervisor internal/network internal/image internal/image/seed internal/wire internal/serial internal/serial/socket internal/userdata internal/hostkey internal/usage internal/archive internal/archive/s3",
	"internal/agent/benchmark": "internal/fault internal/capacity",
	"internal/agent/discover":  "internal/fault internal/capacity",
	"internal/agent/local":     "internal/fault internal/image",
	"internal/agent/doctor":    "internal/fault internal/capacity internal/hypervisor internal/agent/benchmark",
	"internal/agent/service":   "",
	// floor 4: faces
	"internal/api":          "internal/control internal/fault internal/id internal/money internal/capacity internal/account internal/vm internal/market internal/ledger internal/serial internal/serial/socket internal/userdata internal/hostkey internal/usage",
	"internal/console":      "internal/control internal/fault internal/id internal/money internal/capacity internal/account internal/vm internal/market internal/ledger",
	"internal/cli":          "client internal/fault internal/money internal/cli/session internal/cli/account internal/cli/admin internal/cli/bill internal/cli/key internal/cli/market internal/cli/provider internal/cli/vm",
	"internal/cli/provider": "client internal/fault internal/money internal/listing internal/cli/session",
	"internal/cli/session":  "client internal/fault internal/money",
	"internal/cli/account":  "client internal/fault internal/money internal/cli/session",
	"internal/cli/admin":    "client internal/fault internal/money internal/cli/session",
	"internal/cli/bill":     "client internal/fault internal/money internal/cli/session internal/cli/vm",
	"internal/cli/key":      "client internal/fault internal/money internal/cli/session",
	"internal/cli/market":   "client internal/fault internal/money internal/cli/session",
	"internal/cli/vm":       "client internal/fault internal/userdata internal/hostkey internal/money internal/cli/session internal/cli/market internal/cli/key",
	// floor 5: the whole
	"internal/server": "internal/api internal/console internal/control internal/fault internal/payment internal/store internal/wire internal/vm internal/account internal/archive/s3",
	"client":          "",
}

func TestImports(t *testing.T) {
	t.Parallel()

	seen := map[string]bool{}
	for _, top := range []string{"internal", "client"} {
		// Files are read here rather than by "go list" so that the test cache
		// sees them and a changed import runs the test again.
		err := filepath.WalkDir(filepath.Join("..", "..", top), func(file string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
				return err
			}
			pkg := strings.TrimPrefix(path.Dir(filepath.ToSlash(file)), "../../")
			if strings.HasSuffix(pkg, "test") {
				return nil
			}
			seen[pkg] = true
			return check(t, file, pkg)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for pkg := range may {
		if !seen[pkg] {
			t.Errorf("the table has a row for %s, which is not there", pkg)
		}
	}
}

func check(t *testing.T, file, pkg string) error {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		return err
	}
	allowed, known := may[pkg]
	if !known {
		t.Errorf("%s has no row in the table", pkg)
	}
	for _, spec := range f.Imports {
		name, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return err
		}
		if name, ours := strings.CutPrefix(name, module); ours && !slices.Contains(strings.Fields(allowed), name) {
			t.Errorf("%s: %s may not import %s", file, pkg, name)
		}
	}
	return nil
}

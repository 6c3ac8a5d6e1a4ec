//go:build net

package routed_test

import (
	"testing"

	"github.com/cpucloud/cpucloud/internal/network"
	"github.com/cpucloud/cpucloud/internal/network/networktest"
)

func TestDriver(t *testing.T) {
	t.Parallel()
	networktest.Run(t, func(t *testing.T) networktest.Fixture {
		t.Helper()
		w := newWorld(t, nil)
		return networktest.Fixture{New: func() network.Driver { return w.driver(t) }, Address: w.address}
	})
}

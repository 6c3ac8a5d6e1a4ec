package fault_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/cpucloud/cpucloud/internal/fault"
)

func TestKindSurvivesWrapping(t *testing.T) {
	t.Parallel()

	err := fmt.Errorf("deploy: %w", fault.Newf(fault.NotFound, "no VM %q", "0x1"))
	if got := fault.KindOf(err); got != fault.NotFound {
		t.Errorf("KindOf = %q, want %q", got, fault.NotFound)
	}
	if got, want := fault.Message(err), `no VM "0x1"`; got != want {
		t.Errorf("Message = %q, want %q", got, want)
	}
}

func TestUnmarkedErrorsAreInternalAndSilent(t *testing.T) {
	t.Parallel()

	err := errors.New("dial tcp 10.0.0.1:5432: password authentication failed")
	if got := fault.KindOf(err); got != fault.Internal {
		t.Errorf("KindOf = %q, want %q", got, fault.Internal)
	}
	if got := fault.Message(err); got != "internal error" {
		t.Errorf("Message leaks the cause: %q", got)
	}
	if got := fault.Message(fault.New(fault.Internal, "secret detail")); got != "internal error" {
		t.Errorf("Message of an internal fault leaks: %q", got)
	}
	if fault.KindOf(nil) != "" || fault.Is(nil, fault.Internal) {
		t.Error("nil has a kind")
	}
}

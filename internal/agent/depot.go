package agent

import (
	"context"
	"io"
	"net/http"

	"github.com/cpucloud/cpucloud/internal/archive"
	"github.com/cpucloud/cpucloud/internal/archive/s3"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// errands asks the control plane for what objects of exports need; *wire.Client does.
type errands interface {
	Errand(ctx context.Context, e vm.Errand) (vm.Pass, error)
}

// depot keeps the objects of one export in the operator's store, whose keys stay with
// the control plane: it asks for a link for each object when it needs it.
type depot struct {
	errands errands
	client  *http.Client // reaches the store
	errand  vm.Errand    // what all of its errands have in common
}

var _ archive.Depot = (*depot)(nil)

// errNoStore is of an agent that was not told how to reach stores.
var errNoStore = fault.New(fault.Unavailable, "this server can't reach a store of exports")

// Put implements archive.Depot.
func (d *depot) Put(ctx context.Context, o archive.Object, body io.ReadSeeker) error {
	if d.client == nil {
		return errNoStore
	}
	e := d.errand
	e.Name, e.Bytes, e.MD5 = o.Name, o.Bytes, o.MD5
	pass, err := d.ask(ctx, e)
	if err != nil {
		return err
	}
	return s3.Put(ctx, d.client, s3.Link(pass.Link), o, body)
}

// Get implements archive.Depot.
func (d *depot) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	pass, err := d.pass(ctx, name)
	if err != nil {
		return nil, err
	}
	return s3.Get(ctx, d.client, s3.Link(pass.Link))
}

// pass asks for what is needed to fetch an object.
func (d *depot) pass(ctx context.Context, name string) (vm.Pass, error) {
	if d.client == nil {
		return vm.Pass{}, errNoStore
	}
	e := d.errand
	e.Name = name
	return d.ask(ctx, e)
}

// ask runs an errand. That the control plane knows nothing of it passes: one of both has
// old news.
func (d *depot) ask(ctx context.Context, e vm.Errand) (vm.Pass, error) {
	pass, err := d.errands.Errand(ctx, e)
	if fault.Is(err, fault.NotFound) {
		err = fault.New(fault.Unavailable, fault.Message(err))
	}
	return pass, err
}

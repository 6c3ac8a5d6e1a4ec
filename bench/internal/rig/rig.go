// Package rig is a cloud whose one server has the demo image in its cache, and a
// bare QEMU like that of its VMs: what benches of single VMs run on.
package rig

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/cpucloud/cpucloud/bench/internal/bare"
	"github.com/cpucloud/cpucloud/bench/internal/cloud"
	"github.com/cpucloud/cpucloud/bench/internal/login"
	"github.com/cpucloud/cpucloud/bench/internal/report"
	"github.com/cpucloud/cpucloud/client"
)

const sshPort = 22

// Rig is a cloud with what is needed to use it.
type Rig struct {
	*cloud.Cloud
	Image client.Image
	Key   login.Identity
	Dir   string        // of the bare QEMU; it goes with the rig
	Bare  *bare.Machine // with the seed of the cloud's first VM

	begun int // deployments
}

// Open starts a cloud and runs one VM, to fetch the image and to see how QEMU is
// called.
func Open(ctx context.Context, config cloud.Config) (_ *Rig, err error) {
	r := &Rig{}
	if r.Cloud, err = cloud.Start(ctx, config); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close(ctx))
		}
	}()
	if r.Dir, err = os.MkdirTemp("", "cpucloud-bench."); err != nil {
		return nil, err
	}
	if r.Key, err = login.NewIdentity(); err != nil {
		return nil, err
	}
	if r.Image, err = r.Cloud.Image(ctx); err != nil {
		return nil, err
	}
	report.Progress("rig: one VM to fetch the image and to see how QEMU is called")
	return r, r.warmUp(ctx)
}

// Close takes the cloud down and removes all that it kept, though ctx may be done.
func (r *Rig) Close(ctx context.Context) error {
	return errors.Join(r.Cloud.Close(ctx), os.RemoveAll(r.Dir))
}

func (r *Rig) warmUp(ctx context.Context) error {
	g, err := r.Guest(ctx)
	if err != nil {
		return err
	}
	qemu, err := r.QEMU(g.ID)
	if err != nil {
		return err
	}
	if r.Bare, err = bare.Of(ctx, qemu, r.Dir); err != nil {
		return fmt.Errorf("see how the cloud calls QEMU: %w", err)
	}
	return r.Delete(ctx, g.ID)
}

// Order deploys that many VMs by one request and returns their ids.
func (r *Rig) Order(ctx context.Context, instances int) ([]string, error) {
	r.begun++
	made, err := r.Deploy(ctx, cloud.Deployment(fmt.Sprintf("bench-%d", r.begun), r.Image.DownloadURL, r.Key.Line, instances))
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(made))
	for i, d := range made {
		ids[i] = d.ID
	}
	return ids, nil
}

// Guest is a VM that answers.
type Guest struct {
	ID  string
	SSH netip.AddrPort
}

// Guest deploys a VM and logs in.
func (r *Rig) Guest(ctx context.Context) (Guest, error) {
	begin := report.Now()
	ids, err := r.Order(ctx, 1)
	if err != nil {
		return Guest{}, err
	}
	v, err := r.Active(ctx, ids[0])
	if err != nil {
		return Guest{}, err
	}
	at, err := SSH(v)
	if err != nil {
		return Guest{}, err
	}
	return Guest{v.ID, at}, r.Key.Login(ctx, r.Image.Username, at, begin)
}

// SSH returns where a VM that is Active answers.
func SSH(v client.VM) (netip.AddrPort, error) {
	address, err := netip.ParseAddr(v.Address())
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("vm %s: %w", v.ID, err)
	}
	return netip.AddrPortFrom(address, sshPort), nil
}

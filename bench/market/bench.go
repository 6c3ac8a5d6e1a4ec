package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/cpucloud/cpucloud/bench/internal/postgres"
	"github.com/cpucloud/cpucloud/bench/internal/profile"
	"github.com/cpucloud/cpucloud/bench/internal/report"
)

// bench is the parts that measure control planes, with what they share. It is
// made as it is needed.
type bench struct {
	options
	fleet  []machine
	db     *postgres.Server
	rows   *rowFloor
	planes map[string]*plane // by engine
	cpu    profile.CPU
}

func benchAll(ctx context.Context, o options) (err error) {
	if err := report.Describe(os.Stdout); err != nil {
		return err
	}
	b := &bench{options: o, planes: map[string]*plane{}, cpu: profile.CPU{Path: o.profile}}
	defer func() { err = errors.Join(err, b.close(ctx)) }()
	for _, part := range []struct {
		name string
		run  func(ctx context.Context) error
	}{
		{"search", b.search},
		{"start", b.start},
		{"offers", b.offers},
		{"place", b.place},
		{"bulk", b.bulk},
		{"mixed", b.mixed},
	} {
		if o.wants(part.name) {
			if err := part.run(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *bench) close(ctx context.Context) (err error) {
	err = b.cpu.End()
	for _, p := range b.planes {
		err = errors.Join(err, p.close(ctx))
	}
	if b.db != nil {
		err = errors.Join(err, b.db.Stop(ctx))
	}
	return err
}

// machines returns the fleet that control planes are given.
func (b *bench) machines() []machine {
	if b.fleet == nil {
		b.fleet = makeFleet(b.size())
	}
	return b.fleet
}

// postgres returns a PostgreSQL that runs.
func (b *bench) postgres(ctx context.Context) (_ *postgres.Server, err error) {
	if b.db == nil {
		b.db, err = postgres.Start(ctx, "cloud", "floor")
	}
	return b.db, err
}

// rowFloor returns the floor of placements.
func (b *bench) rowFloor(ctx context.Context) (*rowFloor, error) {
	if b.rows != nil {
		return b.rows, nil
	}
	db, err := b.postgres(ctx)
	if err != nil {
		return nil, err
	}
	b.rows, err = newRowFloor(ctx, db, b.machines())
	return b.rows, err
}

// plane returns a control plane on an engine, with the fleet.
func (b *bench) plane(ctx context.Context, engine string) (*plane, error) {
	if p := b.planes[engine]; p != nil {
		return p, nil
	}
	name, binary := "", ""
	if engine == "postgres" {
		db, err := b.postgres(ctx)
		if err != nil {
			return nil, err
		}
		name = db.URL("cloud")
	}
	if !b.inProcess {
		var err error
		if binary, err = filepath.Abs(b.binary); err != nil {
			return nil, err
		}
	}
	p, err := newPlane(ctx, engine, binary, name, b.machines())
	if err != nil {
		return nil, err
	}
	b.planes[engine] = p
	return p, nil
}

// measuring is called when a part is set up and its measurement begins.
func (b *bench) measuring() error { return b.cpu.Begin() }

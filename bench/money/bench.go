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

// bench is what the parts share.
type bench struct {
	options
	dir string
	db  *postgres.Server // nil until it is needed
	cpu profile.CPU
}

func benchAll(ctx context.Context, o options) (err error) {
	if err := report.Describe(os.Stdout); err != nil {
		return err
	}
	b := &bench{options: o, cpu: profile.CPU{Path: o.profile}}
	if b.binary, err = filepath.Abs(o.binary); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp("", "cpucloud-bench."); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close(ctx)) }()
	for _, engine := range o.engines {
		if err := b.engine(ctx, engine); err != nil {
			return err
		}
	}
	return nil
}

// engine measures all on one database.
func (b *bench) engine(ctx context.Context, engine string) error {
	if b.wants("bill") || b.wants("api") {
		large, err := b.tenants(ctx, engine, "large", b.vms)
		if err != nil {
			return err
		}
		if err := b.inTurn(ctx, large, b.bill, b.api); err != nil {
			return err
		}
	}
	if b.wants("kill") || b.wants("fsck") {
		small, err := b.tenants(ctx, engine, "small", b.entries/entriesPerVM)
		if err != nil {
			return err
		}
		return b.inTurn(ctx, small, b.kill, b.fsck)
	}
	return nil
}

// inTurn runs the parts that are wanted, and removes what they worked on.
func (b *bench) inTurn(ctx context.Context, t *tenants, run ...func(context.Context, *tenants) error) (err error) {
	defer func() { err = errors.Join(err, t.close(ctx)) }()
	for _, part := range run {
		if err := part(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) close(ctx context.Context) error {
	err := b.cpu.End()
	if b.db != nil {
		err = errors.Join(err, b.db.Stop(ctx))
	}
	return errors.Join(err, os.RemoveAll(b.dir))
}

// postgres returns a PostgreSQL that runs.
func (b *bench) postgres(ctx context.Context) (_ *postgres.Server, err error) {
	if b.db == nil {
		b.db, err = postgres.Start(ctx, "large", "small", "floor")
	}
	return b.db, err
}

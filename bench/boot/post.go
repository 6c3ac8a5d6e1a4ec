package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/cpucloud/cpucloud/bench/internal/cloud"
	"github.com/cpucloud/cpucloud/bench/internal/inside"
	"github.com/cpucloud/cpucloud/bench/internal/report"
)

// coldPosts are made before the clock runs: they open connections and compile
// statements.
const coldPosts = 10

// benchPost times POST /vms/v3, one at a time, on a control plane whose one server
// has room for all. No agent runs, so nothing but the answer takes time.
func benchPost(ctx context.Context, posts int) (err error) {
	report.Progress("posts: %d deployments, one at a time", posts)
	p, err := inside.Start(ctx, "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close(ctx)) }()
	if err := join(ctx, p); err != nil {
		return fmt.Errorf("join a server: %w", err)
	}
	took := make([]float64, 0, coldPosts+posts)
	for i := range coldPosts + posts {
		begin := report.Now()
		if _, err := p.Customer.Deploy(ctx, cloud.Deployment(fmt.Sprintf("post-%d", i), "https://images.example/none.qcow2", "bench", 1)); err != nil {
			return fmt.Errorf("deploy: %w", err)
		}
		took = append(took, report.Now().Sub(begin).Seconds()*1000)
	}
	took = took[coldPosts:]
	return report.Print(
		report.Figure{Name: "post.p50", Value: report.Quantile(took, 0.5), Unit: "ms"},
		report.Figure{Name: "post.p99", Value: report.Quantile(took, 0.99), Unit: "ms", Bar: "<=25"},
	)
}

// join has a server join that exists on paper alone.
func join(ctx context.Context, p *inside.Plane) error {
	token, err := p.Invite(ctx)
	if err != nil {
		return err
	}
	key, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	_, err = p.Control.Enroll(ctx, token, key, inside.Paper())
	return err
}

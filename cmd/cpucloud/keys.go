package main

import (
	"context"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/server"
)

// The variables of demo.env and admin.env.
const (
	varURL   = "CPUCLOUD_URL"
	varKey   = "CPUCLOUD_API_KEY"
	varAdmin = "CPUCLOUD_ADMIN_KEY"
)

// demoBalance is what the demo account begins with.
const demoBalance = 256 * money.USDC

// writeAdmin makes sure that admin.env holds an operator's key that works.
func writeAdmin(ctx context.Context, f *folder, s *server.Server) error {
	_, err := ensureKey(ctx, f.file("admin.env"), "For the operator: cpucloud admin …", varAdmin, "operator", account.Operator, s)
	return err
}

// writeDemo makes sure that demo.env holds a customer's key that works; a new
// customer gets the demo balance.
func writeDemo(ctx context.Context, f *folder, s *server.Server) error {
	made, err := ensureKey(ctx, f.file("demo.env"), "For the demo customer: source this file, then cpucloud offers", varKey, "demo", account.Customer, s)
	if err != nil || made == "" {
		return err
	}
	_, err = s.Control.Credit(ctx, control.System, made, demoBalance)
	return err
}

// ensureKey keeps the key of a file that works and makes an account for one
// that doesn't; made is that account's id. The URL is always written anew, since
// the server may listen elsewhere than last time.
func ensureKey(ctx context.Context, path, comment, variable, name string, role account.Role, s *server.Server) (made string, err error) {
	env, err := readEnv(path)
	if err != nil {
		return "", err
	}
	_, err = s.Control.Authenticate(ctx, env[variable])
	if err != nil && !fault.Is(err, fault.Denied) {
		return "", err
	}
	if err != nil {
		a, secret, err := s.Control.CreateAccount(ctx, control.System, name, role)
		if err != nil {
			return "", err
		}
		made, env[variable] = a.ID, secret
	}
	env[varURL] = s.URL
	return made, writeEnv(path, comment, []string{varURL, variable}, env)
}

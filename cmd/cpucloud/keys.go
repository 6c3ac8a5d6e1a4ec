package main

import (
	"context"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/server"
)

// The variables of demo.env, provider.env and admin.env.
const (
	varURL   = "CPUCLOUD_URL"
	varKey   = "CPUCLOUD_API_KEY"
	varAdmin = "CPUCLOUD_ADMIN_KEY"
)

// demoBalance is what the demo account begins with.
const demoBalance = 256 * money.USDC

// writeAdmin makes sure that admin.env holds an operator's key that works.
func writeAdmin(ctx context.Context, f *folder, s *server.Server) error {
	return ensureKey(ctx, f.file("admin.env"), "For the operator: cpucloud admin …", varAdmin, func() (string, error) {
		_, secret, err := s.Control.CreateAccount(ctx, control.System, "operator", account.Operator)
		return secret, err
	}, s)
}

// writeDemo makes sure that demo.env holds a customer's key that works; a new
// customer gets the demo balance, before the key is written: who has a key that
// works is not given money again.
func writeDemo(ctx context.Context, f *folder, s *server.Server) error {
	return ensureKey(ctx, f.file("demo.env"), "For the demo customer: source this file, then cpucloud offers", varKey, func() (string, error) {
		made, secret, err := s.Control.CreateAccount(ctx, control.System, "demo", account.Customer)
		if err != nil {
			return "", err
		}
		_, err = s.Control.SetBalance(ctx, control.System, made.ID, demoBalance, "to try the cloud with")
		return secret, err
	}, s)
}

// writeProvider makes sure that provider.env holds a key of the account that this
// machine earns for, which is made when the machine joins.
func writeProvider(ctx context.Context, f *folder, s *server.Server) error {
	return ensureKey(ctx, f.file("provider.env"), "For the provider of this machine: source this file, then cpucloud provider earnings", varKey, func() (string, error) {
		all, err := s.Control.Accounts(ctx, control.System)
		if err != nil {
			return "", err
		}
		for _, a := range all {
			if a.Name == demoProvider {
				_, secret, err := s.Control.CreateKey(ctx, account.Actor{AccountID: a.ID, KeyID: control.System.KeyID, Role: account.Customer}, "up", account.Customer, account.Limits{})
				return secret, err
			}
		}
		return "", fault.Newf(fault.NotFound, "there is no account %q that this machine earns for", demoProvider)
	}, s)
}

// ensureKey keeps the key of a file that works and has one made where it
// doesn't. The URL is always written anew, since the server may listen
// elsewhere than last time.
func ensureKey(ctx context.Context, path, comment, variable string, makeKey func() (string, error), s *server.Server) error {
	env, err := readEnv(path)
	if err != nil {
		return err
	}
	_, err = s.Control.Authenticate(ctx, env[variable])
	if fault.Is(err, fault.Denied) {
		env[variable], err = makeKey()
	}
	if err != nil {
		return err
	}
	env[varURL] = s.URL
	return writeEnv(path, comment, []string{varURL, variable}, env)
}

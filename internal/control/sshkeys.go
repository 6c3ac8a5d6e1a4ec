package control

import (
	"context"
	"slices"
	"strings"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/store"
)

// maxSSHKeys bounds how many keys an account keeps.
const maxSSHKeys = 1000

// SSHKeys returns the actor's registered keys, oldest first.
func (s *Service) SSHKeys(ctx context.Context, who account.Actor) ([]account.SSHKey, error) {
	var keys []account.SSHKey
	err := s.Store.Read(ctx, func(tx *store.Tx) (err error) {
		keys, err = tx.SSHKeys(ctx, who.AccountID)
		return err
	})
	return keys, err
}

// AddSSHKey registers a public key under a name that may be empty. A key that
// is registered already is returned as it is, and added is false.
func (s *Service) AddSSHKey(ctx context.Context, who account.Actor, name, line string) (key account.SSHKey, added bool, err error) {
	key, err = account.ParseSSHKey(line)
	if err != nil {
		return key, false, err
	}
	if name != "" {
		if err := account.CheckName(name); err != nil {
			return key, false, err
		}
	}
	key.AccountID, key.Name, key.CreatedAt = who.AccountID, name, s.Now().UTC()
	err = s.Store.Write(ctx, func(tx *store.Tx) error {
		keys, err := tx.SSHKeys(ctx, who.AccountID)
		if err != nil {
			return err
		}
		if i := slices.IndexFunc(keys, func(k account.SSHKey) bool { return k.Fingerprint == key.Fingerprint }); i >= 0 {
			key, added = keys[i], false
			return nil
		}
		if len(keys) >= maxSSHKeys {
			return fault.Newf(fault.Exhausted, "an account keeps at most %d SSH keys; delete one first", maxSSHKeys)
		}
		added, err = tx.InsertSSHKey(ctx, key)
		return err
	})
	return key, added, err
}

// DeleteSSHKey removes a key by its fingerprint. VMs that were deployed with it
// keep it. Returns a NotFound fault for one that isn't registered.
func (s *Service) DeleteSSHKey(ctx context.Context, who account.Actor, fingerprint string) error {
	if fingerprint == "" {
		return fault.New(fault.Invalid, "fingerprint is missing")
	}
	return s.Store.Write(ctx, func(tx *store.Tx) error {
		removed, err := tx.DeleteSSHKey(ctx, who.AccountID, fingerprint)
		if err == nil && !removed {
			return fault.New(fault.NotFound, "no SSH key with this fingerprint")
		}
		return err
	})
}

// publicKeys turns what a customer gave into public key lines: a line is taken
// as it is, anything else names a registered key by fingerprint or name.
func publicKeys(given []string, registered []account.SSHKey) ([]string, error) {
	lines := make([]string, 0, len(given))
	for _, g := range given {
		line, err := publicKey(strings.TrimSpace(g), registered)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return lines, nil
}

func publicKey(given string, registered []account.SSHKey) (string, error) {
	key, err := account.ParseSSHKey(given)
	if err == nil {
		return key.PublicKey, nil
	}
	for _, known := range registered {
		if given != "" && (known.Fingerprint == given || known.Name == given) {
			return known.PublicKey, nil
		}
	}
	if strings.ContainsAny(given, " \n") || given == "" {
		return "", err // it was meant to be a key
	}
	if len(given) > 80 {
		given = given[:80] + "…"
	}
	return "", fault.Newf(fault.Invalid, "sshKeys: %q is neither a public key nor the name or fingerprint of a registered one", given)
}

package control

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"io"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

const accountKeySize = 32

// sealer seals and opens under one key. What it seals is bound to what it is for: it
// can't be opened as anything else.
type sealer struct{ aead cipher.AEAD }

func newSealer(key []byte) (sealer, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return sealer{}, fmt.Errorf("make cipher: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	return sealer{aead}, err
}

func (s sealer) seal(random io.Reader, secret []byte, purpose string) ([]byte, error) {
	nonce := make([]byte, s.aead.NonceSize())
	if _, err := io.ReadFull(random, nonce); err != nil {
		return nil, fmt.Errorf("read randomness: %w", err)
	}
	return s.aead.Seal(nonce, nonce, secret, []byte(purpose)), nil
}

func (s sealer) open(sealed []byte, purpose string) ([]byte, error) {
	size := s.aead.NonceSize()
	if len(sealed) < size {
		return nil, fault.Newf(fault.Internal, "the %s is damaged", purpose)
	}
	secret, err := s.aead.Open(nil, sealed[:size], sealed[size:], []byte(purpose))
	if err != nil {
		return nil, fault.Newf(fault.Internal, "the %s is damaged, or sealed with another key", purpose)
	}
	return secret, nil
}

// master seals the keys of accounts. It follows from the control plane's own key.
func (s *Service) master() (sealer, error) {
	key, err := hkdf.Key(sha256.New, s.key.Seed(), nil, "cpucloud account keys 1", accountKeySize)
	if err != nil {
		return sealer{}, fmt.Errorf("derive key: %w", err)
	}
	return newSealer(key)
}

func accountPurpose(accountID string) string { return "key of account " + accountID }

// newAccountKey makes the key of an account that has none yet, and returns what seals
// with the account's key.
func (s *Service) newAccountKey(ctx context.Context, tx *store.Tx, accountID string) (sealer, error) {
	master, err := s.master()
	if err != nil {
		return sealer{}, err
	}
	key := make([]byte, accountKeySize)
	if _, err := io.ReadFull(s.Rand, key); err != nil {
		return sealer{}, fmt.Errorf("read randomness: %w", err)
	}
	fresh, err := master.seal(s.Rand, key, accountPurpose(accountID))
	if err != nil {
		return sealer{}, err
	}
	kept, err := tx.AccountKey(ctx, accountID, fresh)
	if err != nil {
		return sealer{}, err
	}
	return accountSealer(master, accountID, kept)
}

func accountSealer(master sealer, accountID string, sealed []byte) (sealer, error) {
	key, err := master.open(sealed, accountPurpose(accountID))
	if err != nil {
		return sealer{}, err
	}
	return newSealer(key)
}

// identity returns what the objects of an export are decrypted with: a secret.
func (s *Service) identity(ctx context.Context, tx *store.Tx, e vm.Export) (string, error) {
	master, err := s.master()
	if err != nil {
		return "", err
	}
	sealed, err := tx.KeptAccountKey(ctx, e.AccountID)
	if err != nil {
		return "", err
	}
	own, err := accountSealer(master, e.AccountID, sealed)
	if err != nil {
		return "", err
	}
	identity, err := own.open(e.Identity, exportPurpose(e.ID))
	return string(identity), err
}

func exportPurpose(exportID string) string { return "key of export " + exportID }

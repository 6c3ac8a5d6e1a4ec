package store

import (
	"context"
	"strings"
	"time"

	"github.com/cpucloud/cpucloud/internal/account"
)

type accountRow struct {
	ID        string
	Name      string
	CreatedAt int64
}

func (r accountRow) account() account.Account {
	return account.Account{ID: r.ID, Name: r.Name, CreatedAt: at(r.CreatedAt)}
}

// InsertAccount adds an account.
func (t *Tx) InsertAccount(ctx context.Context, a account.Account) error {
	_, err := t.exec(ctx, `INSERT INTO accounts (id, name, created_at) VALUES (?, ?, ?)`, a.ID, a.Name, micros(a.CreatedAt))
	return err
}

// InitAccount adds an account unless there is one with its id.
func (t *Tx) InitAccount(ctx context.Context, a account.Account) error {
	_, err := t.exec(ctx, `INSERT INTO accounts (id, name, created_at) VALUES (?, ?, ?) ON CONFLICT (id) DO NOTHING`, a.ID, a.Name, micros(a.CreatedAt))
	return err
}

// Account returns an account, or a NotFound fault.
func (t *Tx) Account(ctx context.Context, id string) (account.Account, error) {
	r, err := row[accountRow](ctx, t, "no such account", `SELECT id, name, created_at FROM accounts WHERE id = ?`, id)
	return r.account(), err
}

// Accounts returns all accounts, oldest first.
func (t *Tx) Accounts(ctx context.Context) ([]account.Account, error) {
	list, err := rows[accountRow](ctx, t, `SELECT id, name, created_at FROM accounts ORDER BY created_at, id`)
	return convert(list, accountRow.account), err
}

type keyRow struct {
	ID        string
	AccountID string
	Name      string
	Hash      string
	Role      string
	CreatedAt int64
	RevokedAt int64
}

func (r keyRow) key() account.Key {
	return account.Key{
		ID: r.ID, AccountID: r.AccountID, Name: r.Name, Hash: r.Hash, Role: account.Role(r.Role),
		CreatedAt: at(r.CreatedAt), RevokedAt: at(r.RevokedAt),
	}
}

// InsertKey adds an API key.
func (t *Tx) InsertKey(ctx context.Context, k account.Key) error {
	_, err := t.exec(ctx, `INSERT INTO api_keys (id, account_id, name, hash, role, created_at, revoked_at) VALUES (?, ?, ?, ?, ?, ?, ?)`,
		k.ID, k.AccountID, k.Name, k.Hash, string(k.Role), micros(k.CreatedAt), micros(k.RevokedAt))
	return err
}

// KeyByHash returns the API key with that hash, revoked or not, or a NotFound fault.
func (t *Tx) KeyByHash(ctx context.Context, hash string) (account.Key, error) {
	r, err := row[keyRow](ctx, t, "no such API key",
		`SELECT `+keyColumns+` FROM api_keys WHERE hash = ?`, hash)
	return r.key(), err
}

const keyColumns = `id, account_id, name, hash, role, created_at, revoked_at`

// Key returns one of an account's API keys, revoked or not, or a NotFound fault.
func (t *Tx) Key(ctx context.Context, accountID, id string) (account.Key, error) {
	r, err := row[keyRow](ctx, t, "no such API key", `SELECT `+keyColumns+` FROM api_keys WHERE id = ? AND account_id = ?`, id, accountID)
	return r.key(), err
}

// Keys returns an account's API keys that are not revoked, oldest first.
func (t *Tx) Keys(ctx context.Context, accountID string) ([]account.Key, error) {
	list, err := rows[keyRow](ctx, t, `SELECT `+keyColumns+` FROM api_keys WHERE account_id = ? AND revoked_at = 0 ORDER BY created_at, id`, accountID)
	return convert(list, keyRow.key), err
}

// OperatorKeys returns how many keys of operators are not revoked, in all accounts.
func (t *Tx) OperatorKeys(ctx context.Context) (int, error) {
	r, err := row[struct{ N int }](ctx, t, "", `SELECT COUNT(*) AS n FROM api_keys WHERE role = 'operator' AND revoked_at = 0`)
	return r.N, err
}

// RevokeKey makes an API key good for nothing from a time on.
func (t *Tx) RevokeKey(ctx context.Context, id string, at time.Time) error {
	_, err := t.exec(ctx, `UPDATE api_keys SET revoked_at = ? WHERE id = ? AND revoked_at = 0`, micros(at), id)
	return err
}

type sshKeyRow struct {
	AccountID   string
	Fingerprint string
	Name        string
	Algorithm   string
	Comment     string
	PublicKey   string
	CreatedAt   int64
}

func (r sshKeyRow) key() account.SSHKey {
	return account.SSHKey{
		AccountID: r.AccountID, Name: r.Name, Fingerprint: r.Fingerprint, Algorithm: r.Algorithm,
		Comment: r.Comment, PublicKey: r.PublicKey, CreatedAt: at(r.CreatedAt),
	}
}

// InsertSSHKey adds k unless its account has one with that fingerprint; added says which.
func (t *Tx) InsertSSHKey(ctx context.Context, k account.SSHKey) (added bool, err error) {
	n, err := t.exec(ctx, `INSERT INTO ssh_keys (account_id, fingerprint, name, algorithm, comment, public_key, created_at)
		VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (account_id, fingerprint) DO NOTHING`,
		k.AccountID, k.Fingerprint, k.Name, k.Algorithm, k.Comment, k.PublicKey, micros(k.CreatedAt))
	return n == 1, err
}

// SSHKeys returns an account's keys, oldest first.
func (t *Tx) SSHKeys(ctx context.Context, accountID string) ([]account.SSHKey, error) {
	list, err := rows[sshKeyRow](ctx, t, `SELECT account_id, fingerprint, name, algorithm, comment, public_key, created_at
		FROM ssh_keys WHERE account_id = ? ORDER BY created_at, fingerprint`, accountID)
	return convert(list, sshKeyRow.key), err
}

// DeleteSSHKey removes a key; removed is false when there was none.
func (t *Tx) DeleteSSHKey(ctx context.Context, accountID, fingerprint string) (removed bool, err error) {
	n, err := t.exec(ctx, `DELETE FROM ssh_keys WHERE account_id = ? AND fingerprint = ?`, accountID, fingerprint)
	return n == 1, err
}

// Answer is what a request that may be repeated was answered.
type Answer struct {
	AccountID string
	Key       string // chosen by the client
	Request   string // a digest of the request, to know a repetition from a mistake
	Answer    string // JSON
	CreatedAt time.Time
}

func (s *script) answers(list []Answer) {
	lines := make([][]any, len(list))
	for i, a := range list {
		lines[i] = []any{a.AccountID, a.Key, a.Request, a.Answer, micros(a.CreatedAt)}
	}
	s.insert(`INSERT INTO answers (account_id, key, request, answer, created_at)`, lines)
}

// Answers returns those of the answers that are kept, of which account and key
// are given.
func (t *Tx) Answers(ctx context.Context, asked []Answer) ([]Answer, error) {
	if len(asked) == 0 {
		return nil, nil
	}
	var pairs []any
	for _, a := range asked {
		pairs = append(pairs, a.AccountID, a.Key)
	}
	list, err := rows[struct {
		AccountID string
		Key       string
		Request   string
		Answer    string
		CreatedAt int64
	}](ctx, t, `SELECT a.account_id, a.key, a.request, a.answer, a.created_at FROM answers a
		WHERE (a.account_id, a.key) IN (VALUES (?, ?)`+strings.Repeat(", (?, ?)", len(asked)-1)+`) ORDER BY a.account_id, a.key`, pairs...)
	out := make([]Answer, len(list))
	for i, r := range list {
		out[i] = Answer{AccountID: r.AccountID, Key: r.Key, Request: r.Request, Answer: r.Answer, CreatedAt: at(r.CreatedAt)}
	}
	return out, err
}

// Setting returns a setting of the whole marketplace, or a NotFound fault.
func (t *Tx) Setting(ctx context.Context, key string) (string, error) {
	r, err := row[struct{ Value string }](ctx, t, "no such setting", `SELECT value FROM settings WHERE key = ?`, key)
	return r.Value, err
}

// InitSetting keeps value unless the setting has one, and returns what it is now.
func (t *Tx) InitSetting(ctx context.Context, key, value string) (string, error) {
	if _, err := t.exec(ctx, `INSERT INTO settings (key, value) VALUES (?, ?) ON CONFLICT (key) DO NOTHING`, key, value); err != nil {
		return "", err
	}
	return t.Setting(ctx, key)
}

// PutSetting sets a setting.
func (t *Tx) PutSetting(ctx context.Context, key, value string) error {
	_, err := t.exec(ctx, `INSERT INTO settings (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value`, key, value)
	return err
}

// convert maps a list; the result is never nil.
func convert[A, B any](list []A, f func(A) B) []B {
	out := make([]B, 0, len(list))
	for _, item := range list {
		out = append(out, f(item))
	}
	return out
}

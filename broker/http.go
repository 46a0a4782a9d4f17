package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// The paths that only a broker's owner, a vendor or an operator needs. The
// others are in package payword.
const (
	pathVendor     = "/v1/vendor"
	pathFundings   = "/v1/admin/fundings"
	pathAssignment = "/v1/admin/fundings/{funding}/assignment"
	pathCredit     = "/v1/admin/accounts/{account}/credit"
	pathOpenAPI    = "/openapi.json"
	pathHealth     = "/healthz"
	pathReady      = "/readyz"
)

// The largest bodies, in bytes.
const (
	smallBody       = 4 << 10  // a key and a few names
	reservationBody = 8 << 10  // a commitment of 3072 bytes, and room for JSON
	redemptionBody  = 3 << 20  // 500 redemptions of at most 5.8 KB
	certificateBody = 16 << 10 // 16 keys of about 100 bytes, and room for white space

	// largeBody is the size above which only a few bodies are held at once.
	largeBody = 64 << 10
)

// formatBytes writes a size for people.
func formatBytes(count int64) string {
	if count >= 1<<10 {
		return fmt.Sprintf("%d KiB", count>>10)
	}
	return fmt.Sprintf("%d bytes", count)
}

// route is what the guard and the OpenAPI document know of a route.
type route struct {
	method, path string
	access       access
	maxBody      int64
	status       int // of success; 0: 200
	id, summary  string
	description  string
	media        string // of an answer that is no plain JSON; "": application/json
	also         int    // a second status of success; 0: none
	hasLines     bool   // it takes and gives lines of JSON as well
	hasRawBody   bool   // the handler reads and checks the body itself
}

func (r route) pattern() string { return r.method + " " + r.path }

// The names of the ways to prove who one is, in the OpenAPI document.
const (
	schemeSignature = "requestSignature"
	schemeToken     = "administrationToken"
)

func (r route) operation() huma.Operation {
	operation := huma.Operation{
		OperationID: r.id, Method: r.method, Path: r.path, Summary: r.summary, Description: r.description,
		DefaultStatus: r.status,
		// The guard has read the body; these are past its own limits.
		MaxBodyBytes: r.maxBody + 2, BodyReadTimeout: -1,
	}
	if r.hasRawBody {
		operation.SkipValidateBody = true
	}
	switch r.access {
	case accountSigned, vendorSigned, newAccount, newVendor, gatewaySigned:
		operation.Security = []map[string][]string{{schemeSignature: {}}}
	case adminOnly:
		operation.Security = []map[string][]string{{schemeToken: {}}}
	}
	return operation
}

// api registers routes.
type api struct {
	broker *Broker
	huma   huma.API
	routes map[string]route
}

// register adds a route. handle returns an answer, or a refusal, or an error if
// it cannot tell.
func register[I, O any](a *api, r route, handle func(context.Context, *I) (*O, payword.Refusal, error)) {
	a.routes[r.pattern()] = r
	huma.Register(a.huma, r.operation(), func(ctx context.Context, input *I) (*O, error) {
		output, refusal, err := handle(ctx, input)
		if p := a.broker.problemOf(ctx, r.pattern(), refusal, err); p != nil {
			return nil, p
		}
		return output, nil
	})
}

// newHandler returns the broker's HTTP interface.
func newHandler(b *Broker) (http.Handler, error) {
	mux := http.NewServeMux()
	a := &api{broker: b, huma: humago.New(mux, apiConfig(b.config)), routes: make(map[string]route)}
	registerPublic(a)
	registerAccounts(a)
	registerCertificates(a)
	registerVendors(a)
	registerVendorDetails(a)
	registerWebhooks(a)
	registerStatements(a)
	registerVendorAdministration(a)
	registerAdministration(a)
	registerFundings(a)
	registerReversals(a)
	registerGateways(a)
	registerPayments(a)
	registerDevices(a)
	registerSubAccounts(a)
	registerOwner(a)
	registerExport(a)
	registerAccountAdministration(a)
	// Written when it is asked for first: that takes longer than all else here.
	document := sync.OnceValues(func() (json.RawMessage, error) { return json.Marshal(a.huma.OpenAPI()) })
	register(a, route{method: http.MethodGet, path: pathOpenAPI, id: "getOpenAPI", media: "application/openapi+json", summary: "This document"},
		func(context.Context, *struct{}) (*rawAnswer, payword.Refusal, error) {
			written, err := document()
			return &rawAnswer{"application/openapi+json", "public, max-age=300", written}, payword.Refusal{}, err
		})
	refuseNull(a.huma.OpenAPI().Components.Schemas)
	if err := describe(a.huma.OpenAPI(), a.routes); err != nil {
		return nil, fmt.Errorf("describing the routes: %w", err)
	}
	return &guard{broker: b, mux: mux, routes: a.routes}, nil
}

func apiConfig(config Config) huma.Config {
	registry := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	registry.RegisterTypeAlias(reflect.TypeFor[huma.ErrorModel](), reflect.TypeFor[problem]())
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title: "payword broker", Version: "1",
				Description: "Accounts, certificates, reservations and redemptions. Every amount is a string of digits that " +
					"counts millionths of the currency's major unit. Currency here: " + string(config.Currency) + ".",
			},
			Servers: []*huma.Server{{URL: config.Issuer}},
			Components: &huma.Components{
				Schemas: registry,
				SecuritySchemes: map[string]*huma.SecurityScheme{
					schemeSignature: {
						Type: "apiKey", In: "header", Name: payword.HeaderSignature,
						Description: "HTTP message signature (RFC 9421) by an Ed25519 key over @method, @target-uri and content-digest, " +
							"with created, keyid (RFC 7638 thumbprint), nonce (16 random bytes, base64url) and " +
							"tag=\"payword-request\"; fields Signature-Input, Signature and Content-Digest. Every request is signed anew.",
					},
					schemeToken: {Type: "http", Scheme: "bearer", Description: "the administration token"},
				},
			},
		},
		Formats:                      huma.DefaultFormats,
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
		Transformers:                 []huma.Transformer{transformProblem},
	}
}

// refuseNull takes null out of the lists of all schemas, which huma lets pass
// because Go reads it as an empty list.
func refuseNull(registry huma.Registry) {
	for _, schema := range registry.Map() {
		for _, property := range schema.Properties {
			property.Nullable = property.Nullable && property.Type != huma.TypeArray
		}
	}
}

// rawAnswer is an answer with a media type of its own.
type rawAnswer struct {
	ContentType  string `header:"Content-Type"`
	CacheControl string `header:"Cache-Control"`
	Body         json.RawMessage
}

// health is the body of the two routes for probes.
type health struct {
	Body struct {
		Status string `json:"status" enum:"ok"`
	}
}

func healthy() *health {
	answer := &health{}
	answer.Body.Status = "ok"
	return answer
}

func registerPublic(a *api) {
	b := a.broker
	register(a, route{method: http.MethodGet, path: payword.PathBrokerKeys, id: "getKeys", media: "application/jwk-set+json",
		summary: "The broker's public keys, as a JSON Web Key Set (RFC 7517)"},
		func(ctx context.Context, _ *struct{}) (*rawAnswer, payword.Refusal, error) {
			set, err := payword.FormatJWKS(b.keys(ctx).published...)
			return &rawAnswer{"application/jwk-set+json", "public, max-age=300", set}, payword.Refusal{}, err
		})
	register(a, route{method: http.MethodGet, path: pathHealth, id: "getHealth", summary: "Whether the process answers"},
		func(context.Context, *struct{}) (*health, payword.Refusal, error) {
			return healthy(), payword.Refusal{}, nil
		})
	register(a, route{method: http.MethodGet, path: pathReady, id: "getReadiness", summary: "Whether the broker can do its work",
		description: "503 while the database does not answer within two seconds, and from when the process is about to end."},
		func(ctx context.Context, _ *struct{}) (*health, payword.Refusal, error) {
			return healthy(), payword.Refusal{}, b.ready(ctx)
		})
	register(a, route{method: http.MethodPost, path: payword.PathChallenges, id: "createChallenge",
		summary: "A fresh challenge for opening an account, good for five minutes", maxBody: smallBody},
		func(ctx context.Context, _ *struct{}) (*body[payword.AccountChallenge], payword.Refusal, error) {
			challenge, err := b.newChallenge(ctx)
			return &body[payword.AccountChallenge]{challenge}, payword.Refusal{}, err
		})
	register(a, route{method: http.MethodPost, path: payword.PathAccounts, id: "openAccount", access: newAccount, also: http.StatusOK,
		summary: "Open an account", maxBody: smallBody, status: http.StatusCreated,
		description: "Signed by the new key. The same key again gets the same account, with status 200."},
		func(ctx context.Context, input *body[payword.OpenAccount]) (*openedAccount, payword.Refusal, error) {
			account, isNew, refusal, err := b.openAccount(ctx, callerOf(ctx), input.Body)
			answer := &openedAccount{Status: http.StatusOK, Body: account}
			if isNew {
				answer.Status = http.StatusCreated
			}
			return answer, refusal, err
		})
}

// body is an input or output that is a JSON body and nothing else.
type body[T any] struct{ Body T }

type openedAccount struct {
	Status int
	Body   payword.Account
}

func registerAccounts(a *api) {
	b := a.broker
	register(a, route{method: http.MethodGet, path: payword.PathAccount, id: "getAccount", access: accountSigned,
		summary: "The account of the key that signed the request"},
		func(ctx context.Context, _ *struct{}) (*body[payword.Account], payword.Refusal, error) {
			account, refusal, err := b.store.account(ctx, callerOf(ctx).account)
			return &body[payword.Account]{account}, refusal, err
		})
	register(a, route{method: http.MethodPost, path: payword.PathReservations, id: "reserve", access: accountSigned,
		summary: "Set an amount aside for a commitment, or raise what is set aside", maxBody: reservationBody,
		description: "The same or a lower amount again gets the current reservation again."},
		func(ctx context.Context, input *body[payword.ReservationRequest]) (*body[payword.ReservationAnswer], payword.Refusal, error) {
			answer, refusal, err := b.reserve(ctx, callerOf(ctx).account, input.Body)
			return &body[payword.ReservationAnswer]{answer}, refusal, err
		})
	register(a, route{method: http.MethodGet, path: payword.PathReservations, id: "listReservations", access: accountSigned,
		summary:     "The commitments of the account that the broker knows, with their reservations",
		description: "With them and its seed a lost wallet is restored."},
		func(ctx context.Context, input *listInput) (*body[reservationList], payword.Refusal, error) {
			list, err := b.store.reservations(ctx, callerOf(ctx).account, input.Listing)
			return &body[reservationList]{list}, payword.Refusal{}, err
		})
}

type vendorInput struct {
	Vendor string `query:"vendor" required:"true" maxLength:"270" doc:"the vendor's origin"`
}

func registerVendors(a *api) {
	b := a.broker
	register(a, route{method: http.MethodPost, path: payword.PathVendors, id: "registerVendor", access: newVendor,
		summary: "Register a key of a vendor", maxBody: smallBody,
		description: "The broker reads the discovery document at the vendor's origin, which must name the vendor and list the key. " +
			"Keys that were registered before and are not in the document any more are forgotten."},
		func(ctx context.Context, input *body[payword.VendorRequest]) (*body[vendorDetails], payword.Refusal, error) {
			vendor, refusal, err := b.registerVendor(ctx, callerOf(ctx), input.Body)
			return &body[vendorDetails]{vendor}, refusal, err
		})
	register(a, route{method: http.MethodGet, path: pathVendor, id: "getVendor", access: vendorSigned,
		summary: "What the broker knows of a vendor and owes it"},
		func(ctx context.Context, input *vendorInput) (*body[vendorDetails], payword.Refusal, error) {
			vendor, refusal, err := b.vendor(ctx, callerOf(ctx), input.Vendor)
			return &body[vendorDetails]{vendor}, refusal, err
		})
	register(a, route{method: http.MethodPost, path: payword.PathRedemptions, id: "redeem", access: vendorSigned, hasLines: true,
		summary: "Claim what was spent on commitments", maxBody: redemptionBody,
		description: "Each claim is answered by itself. The same claim again gets the same answer for ever and is paid once. " +
			"With Content-Type: application/x-ndjson and ?vendor=<origin> it takes up to 100,000 redemptions, one on a line, and answers with as many " +
			"results, one on a line and in order, while later lines are still coming: read while you write. A stream that ends " +
			"before its time has a last line {\"problem\":…} with the members of RFC 9457."},
		func(ctx context.Context, input *body[payword.RedemptionRequest]) (*body[payword.RedemptionAnswer], payword.Refusal, error) {
			answer, refusal, err := b.redeem(ctx, callerOf(ctx), input.Body)
			return &body[payword.RedemptionAnswer]{answer}, refusal, err
		})
}

type fundingInput struct {
	IdempotencyKey string `header:"Idempotency-Key" maxLength:"128" doc:"the same key and body get the same answer for a week"`
	Body           funding
}

// funding is the body of a request that puts money on an account.
type funding struct {
	ID       string         `json:"id" minLength:"1" maxLength:"100" pattern:"^[A-Za-z0-9._:-]+$" doc:"names this payment; it is booked once for ever"`
	Account  string         `json:"account" maxLength:"64"`
	Amount   money.Amount   `json:"amount" pattern:"^[1-9][0-9]*$" doc:"in micros, at least 1"`
	Currency money.Currency `json:"currency"`
}

type creditInput struct {
	Account string `path:"account" maxLength:"64"`
	Body    struct {
		Credit money.Amount `json:"credit" doc:"how far below zero the balance may go, in micros"`
	}
}

func registerAdministration(a *api) {
	b := a.broker
	register(a, route{method: http.MethodPost, path: pathFundings, id: "fund", access: adminOnly,
		summary: "Put money that came in on an account", maxBody: smallBody},
		func(ctx context.Context, input *fundingInput) (*body[payword.Account], payword.Refusal, error) {
			account, refusal, err := b.fundOnce(ctx, input.IdempotencyKey, input.Body)
			return &body[payword.Account]{account}, refusal, err
		})
	register(a, route{method: http.MethodPut, path: pathCredit, id: "setCredit", access: adminOnly,
		summary: "Set the credit line of an account", maxBody: smallBody},
		func(ctx context.Context, input *creditInput) (*body[payword.Account], payword.Refusal, error) {
			account, refusal, err := b.SetCredit(ctx, input.Account, input.Body.Credit)
			return &body[payword.Account]{account}, refusal, err
		})
}

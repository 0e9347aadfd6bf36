// SPDX-License-Identifier: MPL-2.0

package simulator_test

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/simulator"
)

func TestEnableXSuccess(t *testing.T) {
	for api, fields := range map[string]map[string]any{
		"whatsapp": {},
		"rcs":      {"code": 200.0},
		"sms":      {"result": 0.0},
	} {
		r := newRig(t, simulator.Options{})
		got := r.enablex(api, appID, appKey)
		r.want(got, 200, fields)
		if got.json["expiry"] != float64(r.now.Unix()+3600) || len(got.json) != 2+len(fields) {
			t.Errorf("%s: %s", api, got.text)
		}
		in := r.introspect(got.str("token"))
		if !in.Active || in.Provider != "enablex-"+api || in.Account != appID || in.ExpiresIn != 3599.1 {
			t.Errorf("%s: %+v", api, in) // the expiry has whole seconds, the clock stands at .9
		}
		r.noViolations()
	}
}

func TestEnableXRefusal(t *testing.T) {
	const why = "invalid credentials or the account has been deactivated"
	for api, fields := range map[string]map[string]any{
		"whatsapp": {"message": "Authentication failed", "status": "Unauthorized", "reason": why},
		"rcs":      {"code": 1003.0, "message": "Authentication failed", "description": why},
		"sms":      {"result": "1", "details": "Authentication failed", "desc": "Authentication failed"},
	} {
		r := newRig(t, simulator.Options{})
		r.want(r.enablex(api, appID, "wrong"), 200, fields)
		r.patch(`{"failure_status": 401}`)
		r.want(r.enablex(api, "nobody", appKey), 401, fields)
		if c := r.state().Providers["enablex-"+api]; c.LoginsFailed != 2 || c.Accounts["nobody"].LoginsFailed != 1 {
			t.Errorf("%s: %+v", api, c)
		}
	}
}

func TestEnableXClockOffset(t *testing.T) {
	r := newRig(t, simulator.Options{})
	for _, offset := range []time.Duration{24 * time.Hour, -24 * time.Hour} {
		r.patch(`{"providers": {"enablex-rcs": {"access_ttl": 60, "clock_offset": "` + offset.String() + `"}}}`)
		got := r.enablex("rcs", appID, appKey)
		date, err := http.ParseTime(got.header.Get("Date"))
		if err != nil {
			t.Fatal(err)
		}
		if expiry := got.json["expiry"].(float64); int64(expiry)-date.Unix() != 60 {
			t.Errorf("expiry − Date is %v", int64(expiry)-date.Unix())
		}
		if want := r.now.Add(offset).Truncate(time.Second); !date.Equal(want) {
			t.Errorf("Date %v, want %v", date, want)
		}
		if in := r.introspect(got.str("token")); in.ExpiresIn != 59.1 {
			t.Errorf("the token lives %v s, want 59.1", in.ExpiresIn)
		}
	}
}

func TestEnableXForms(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.patch(`{"expiry_format": "string", "success_status": 201}`)
	want := strconv.FormatInt(r.now.Unix()+3600, 10)
	r.want(r.enablex("rcs", appID, appKey), 201, map[string]any{"code": 200.0, "expiry": want})
	r.patch(`{"expiry_format": "absent", "success_status": null}`)
	got := r.enablex("rcs", appID, appKey)
	r.want(got, 200, nil)
	if _, ok := got.json["expiry"]; ok {
		t.Error("an expiry")
	}
}

func TestEnableXSingleToken(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.patch(`{"single_token": true}`)
	first, other := r.enablex("sms", appID, appKey), r.enablex("rcs", appID, appKey)
	second := r.enablex("sms", appID, appKey)
	if r.introspect(first.str("token")).Active || !r.introspect(second.str("token")).Active ||
		!r.introspect(other.str("token")).Active {
		t.Error("a new token must end the account's previous one of the same API, and nothing else")
	}
}

func TestEnableXViolations(t *testing.T) {
	for name, tt := range map[string]struct {
		method, contentType, body string
		header                    []string
		status, violations        int
	}{
		"method":       {"PUT", "application/json", `{}`, nil, 405, 1},
		"form":         {"POST", formType, "app_id=x", nil, 415, 1},
		"not JSON":     {"POST", "application/json", "{", nil, 200, 1},
		"not strings":  {"POST", "application/json", `{"app_id":1,"app_key":2}`, nil, 200, 3},
		"other fields": {"POST", "application/json", `{"app_id":"x","app_key":"y","ttl":"z"}`, nil, 200, 1},
		"basic": {"POST", "application/json", `{"app_id":"x","app_key":"y"}`,
			[]string{"Authorization", "Basic eDp5"}, 200, 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, simulator.Options{})
			got := r.send(tt.method, "/rcs/v1/token", tt.contentType, tt.body, tt.header...)
			r.want(got, tt.status, nil)
			if got.str("token") != "" {
				t.Error("a token")
			}
			if v := r.state().Violations; len(v) != tt.violations {
				t.Errorf("violations: %+v", v)
			}
		})
	}
}

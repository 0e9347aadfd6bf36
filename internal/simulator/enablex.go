// SPDX-License-Identifier: MPL-2.0

package simulator

import "net/http"

// enablexToken serves POST /{whatsapp,rcs,sms}/v1/token. EnableX does not document the HTTP status
// of a refusal. The simulator sends 200, or the setting failure_status.
func (s *Simulator) enablexToken(c *call) response {
	if c.r.Header.Get("Authorization") != "" {
		c.violate("an Authorization header: app_id and app_key go into the body")
	}
	if resp, refused := c.checkPost(jsonType); refused {
		return resp
	}
	for name, value := range c.json {
		if name != "app_id" && name != "app_key" {
			c.violate("field %q is not documented", name)
		} else if _, ok := value.(string); !ok {
			c.violate("field %q is not a string", name)
		}
	}
	key := c.jsonString("app_key")
	if c.account == "" || key == "" {
		c.violate("the body is not a JSON object with app_id and app_key")
		return c.enablexRefusal()
	}
	if c.authenticate(c.account, key) != accepted {
		return c.enablexRefusal()
	}
	got := c.login(c.account, "")
	body := object{"token": got.access}
	switch c.provider {
	case EnableXRCS:
		body["code"] = http.StatusOK
	case EnableXSMS:
		body["result"] = 0
	}
	expiry := got.accessExpires.Add(c.settings.ClockOffset.value()).Unix()
	return c.tokenResponse(body, "token", "expiry", expiry)
}

// enablexRefusal returns the only refusal that the API documents.
func (c *call) enablexRefusal() response {
	const (
		message = "Authentication failed"
		detail  = "invalid credentials or the account has been deactivated"
	)
	var body object
	switch c.provider {
	case EnableXWhatsApp:
		body = object{"message": message, "status": "Unauthorized", "reason": c.description(detail)}
	case EnableXRCS:
		body = object{"code": 1003, "message": message, "description": c.description(detail)}
	case EnableXSMS:
		body = object{"result": "1", "details": message, "desc": c.description(message)}
	}
	return c.failure(http.StatusOK, body)
}

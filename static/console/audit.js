// The audit record: days are meant in the reader's zone, and a filter that is empty stays out of the address.
const form = document.querySelector(".audit-filters");
form.querySelector("[data-zone]").value = Intl.DateTimeFormat().resolvedOptions().timeZone ?? "";

form.addEventListener("htmx:configRequest", ({ detail }) => {
  for (const [name, value] of [...detail.formData.entries()]) if (!value) detail.formData.delete(name);
  if (!detail.formData.has("from") && !detail.formData.has("to")) detail.formData.delete("zone");
});
